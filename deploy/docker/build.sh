#!/usr/bin/env bash
# Builds an image without a Docker engine and without a registry of images, and tries it: `make images`, for the gateway, or
# `make images ARGS=worker-cpu`.
#
# The base is not the published one but a stand-in: a minimal Debian with Python, by debootstrap. It shows that the
# Dockerfile builds, that what it builds serves as another user on a root filesystem that cannot be written to (a gateway
# with the media sandbox strict), and how large it is; not what is in the published base.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Every node that may run a gateway pulls it.
GATEWAY_MB=350
python=${PYTHON:-.venv/bin/python}
work=${WORK:-$(mktemp -d /tmp/tessera-images-XXXXXX)}
name=${1:-gateway}
image=localhost/tessera/$name:check
buildah=(buildah --root "$work/storage" --runroot "$work/run")

for tool in buildah debootstrap unshare; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install buildah debootstrap util-linux"; exit 1; }
done

if [ ! -e "$work/base.tar" ]; then
  echo "Making the stand-in for python:3.11-slim-bookworm"
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/base" >"$work/debootstrap.log"
  rm -rf "$work"/base/var/{cache/apt/archives,lib/apt/lists}/*
  # Neither has the published base: Debian's slim images keep only the licences of these, and Python's no bytecode or tests.
  rm -rf "$work"/base/usr/share/{info,linda,lintian,locale,man}/* "$work"/base/var/{log/*,cache/debconf/*-old,lib/dpkg/*-old}
  find "$work/base/usr/share/doc" ! -type d ! -name copyright -delete
  find "$work/base/usr/share/doc" -type d -empty -delete
  find "$work/base/usr/lib" \( -path '*/python3*/test' -o -name __pycache__ \) -prune -exec rm -rf {} +
  tar -C "$work/base" -cf "$work/base.tar" .
fi
container=$("${buildah[@]}" from scratch)
"${buildah[@]}" add --quiet "$container" "$work/base.tar" / >/dev/null
"${buildah[@]}" commit --quiet "$container" localhost/stand-in:bookworm >/dev/null
"${buildah[@]}" rm "$container" >/dev/null

# pip in the build asks where pip here does; BUILD_OPTIONS says more, such as `--volume FOLDER:FOLDER:ro`.
read -ra options <<<"--isolation chroot --build-arg BASE=localhost/stand-in:bookworm ${BUILD_OPTIONS:-}"
file=$("$python" -m pip config debug | awk -F'[ ,]+' '/exists: True/ {print $2}' | tail -n 1)
[ -z "$file" ] || options+=(--volume "$file:/etc/pip.conf:ro")
for key in $(compgen -e); do
  case "$key" in PIP_* | *_proxy | *_PROXY | *SSL_CERT* | REQUESTS_CA_BUNDLE) options+=(--env "$key=${!key}") ;; esac
done
"${buildah[@]}" bud --format docker "${options[@]}" -f "deploy/docker/$name.Dockerfile" -t "$image" .
container=$("${buildah[@]}" from "$image")
root=$("${buildah[@]}" mount "$container")
# As `docker image ls` counts: the bytes of all files, in millions.
size() { find "$1" -xdev -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum / 1e6 }'; }
echo "unpacked: $(size "$root") MB, of which /opt/tessera: $(size "$root/opt/tessera") MB"
if [ "$name" = gateway ] && [ "$(size "$root")" -ge "$GATEWAY_MB" ]; then
  echo "A gateway's image takes less than $GATEWAY_MB MB"
  exit 1
fi
"$python" -m "deploy.docker.try_${name%-cpu}" "$root"
"$python" -m deploy.docker.sbom "$work/sbom" "$name" "$root"
