#!/usr/bin/env bash
# Builds an image without a Docker engine and without a registry of images, and tries it: `make images`, for the gateway, or
# `make images ARGS=worker-cpu`, or `worker-cuda`.
#
# The base is not the published one but a stand-in: a minimal Debian with Python, by debootstrap. It shows that the
# Dockerfile builds, that what it builds serves as another user on a root filesystem that cannot be written to (a gateway
# with the media sandbox strict), and how large it is; not what is in the published base. For vLLM's image it is a newer
# Debian, with the packages of it that a worker imports but for vLLM, PyTorch and CUDA, and the engine is simulated.
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

case "$name" in
  worker-cuda) suite=trixie packages=python3,python3-pip,ca-certificates,g++,libnuma1,procps standing_for=vllm/vllm-openai ;;
  *) suite=bookworm packages=python3,python3-venv,ca-certificates standing_for=python:3.11-slim-bookworm ;;
esac
stand_in=localhost/stand-in:$suite
base=$work/$suite
if [ ! -e "$base.tar" ]; then
  echo "Making the stand-in for $standing_for"
  debootstrap --variant=minbase --include="$packages" "$suite" "$base" >"$base.log"
  rm -rf "$base"/var/{cache/apt/archives,lib/apt/lists}/*
  # Neither has the published base: Debian's slim images keep only the licences of these, and Python's no bytecode or tests.
  rm -rf "$base"/usr/share/{info,linda,lintian,locale,man}/* "$base"/var/{log/*,cache/debconf/*-old,lib/dpkg/*-old}
  find "$base/usr/share/doc" ! -type d ! -name copyright -delete
  find "$base/usr/share/doc" -type d -empty -delete
  find "$base/usr/lib" \( -path '*/python3*/test' -o -name __pycache__ \) -prune -exec rm -rf {} +
  tar -C "$base" -cf "$base.tar" .
fi

# pip in the build asks where pip here does; BUILD_OPTIONS says more, such as `--volume FOLDER:FOLDER:ro`.
read -ra options <<<"--isolation chroot ${BUILD_OPTIONS:-}"
file=$("$python" -m pip config debug | awk -F'[ ,]+' '/exists: True/ {print $2}' | tail -n 1)
[ -z "$file" ] || options+=(--volume "$file:/etc/pip.conf:ro")
for key in $(compgen -e); do
  case "$key" in PIP_* | *_proxy | *_PROXY | *SSL_CERT* | REQUESTS_CA_BUNDLE) options+=(--env "$key=${!key}") ;; esac
done

container=$("${buildah[@]}" from scratch)
"${buildah[@]}" add --quiet "$container" "$base.tar" / >/dev/null
if [ "$name" = worker-cuda ]; then
  "$python" -m deploy.docker.stand_in >"$work/stand-in.txt"
  "${buildah[@]}" copy --quiet "$container" "$work/stand-in.txt" /tmp/ >/dev/null
  # As it is in vLLM's image, which has no environment of its own for packages.
  "${buildah[@]}" run "${options[@]}" "$container" -- python3 -m pip install --break-system-packages --ignore-installed --quiet \
    --no-cache-dir --no-deps --only-binary=:all: -r /tmp/stand-in.txt
  # There is no vLLM to import.
  options+=(--build-arg "CHECK=import ray.serve, tessera.worker.application")
fi
"${buildah[@]}" commit --quiet "$container" "$stand_in" >/dev/null
"${buildah[@]}" rm "$container" >/dev/null

"${buildah[@]}" bud --format docker --build-arg "BASE=$stand_in" "${options[@]}" -f "deploy/docker/$name.Dockerfile" -t "$image" .
container=$("${buildah[@]}" from "$image")
root=$("${buildah[@]}" mount "$container")
# As `docker image ls` counts: the bytes of all files, in millions.
size() { find "$1" -xdev -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum / 1e6 }'; }
[ ! -d "$root/opt/tessera" ] || echo "/opt/tessera: $(size "$root/opt/tessera") MB"
echo "unpacked: $(size "$root") MB"
if [ "$name" = gateway ] && [ "$(size "$root")" -ge "$GATEWAY_MB" ]; then
  echo "A gateway's image takes less than $GATEWAY_MB MB"
  exit 1
fi
case "$name" in
  gateway) "$python" -m deploy.docker.try_gateway "$root" ;;
  worker-cpu) "$python" -m deploy.docker.try_worker "$root" ;;
  worker-cuda) "$python" -m deploy.docker.try_worker "$root" simulated ;;
esac
[ "$name" = worker-cuda ] || "$python" -m deploy.docker.sbom "$work/sbom" "$name" "$root"
