"""Runs the gateway of an unpacked image as its user, on a root that cannot be written to, and asks it about an image.

``python -m deploy.docker.try_gateway ROOT``, as root: the last step of `make images`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tessera.local.demo import demo_request
from tessera.local.redis_server import executable
from tessera.local.stack import free_port

REQUEST = Path(__file__).parents[1] / "helm" / "tessera" / "files" / "request.py"
# A mount namespace of its own: its root is read-only, /tmp is not, nor is a home where there is one.
ENTER = """
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t proc proc "$root/proc"
mount --bind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
[ ! -d "$root/home/tessera" ] || mount -t tmpfs -o uid=10001,gid=10001,mode=700 tmpfs "$root/home/tessera"
exec chroot --userspec=10001:10001 "$root" /usr/bin/env -i "$@"
"""


def confined(root: str, *command: str, **environment: str) -> list[str]:
    """A command line that runs a command of the image."""
    variables = {"PATH": "/opt/tessera/bin:/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", **environment}
    told = [f"{name}={value}" for name, value in variables.items()]
    return ["unshare", "--mount", "--fork", "--kill-child=TERM", "bash", "-ec", ENTER, "enter", root, *told, *command]


@contextmanager
def running(argv: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process until the context ends."""
    process = subprocess.Popen(argv, env={**os.environ, **environment})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def status(url: str, body: object = None) -> tuple[int, bytes]:
    """What an address answers, to a body where there is one; 0: nothing."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30 if data else 5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def main(root: str) -> None:
    """Raises AssertionError where something is not as promised."""
    written = subprocess.run(confined(root, "touch", "/opt/tessera/x"), capture_output=True, text=True, check=False)
    assert "Read-only file system" in written.stderr, written
    look = "import importlib.util as u; print(*map(u.find_spec, ['torch', 'vllm', 'ray']))"
    heavy = subprocess.run(
        confined(root, "python", "-c", look),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert heavy.stdout.split() == ["None"] * 3, heavy.stdout
    redis_port, port = free_port(), free_port()
    shared = {"TESSERA_REDIS_URL": f"redis://127.0.0.1:{redis_port}", "TESSERA_REDIS_PREFIX": "try"}
    own = {"TESSERA_HOST": "127.0.0.1", "TESSERA_PORT": str(port), "TESSERA_MEDIA_SANDBOX": "strict"}
    quick = {"TESSERA_DRAIN_NOTICE_S": "0.2", "TESSERA_LOG_FORMAT": "json"}
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        running([str(executable()), "--port", str(redis_port), "--save", "", "--dir", folder]),
        running([sys.executable, "-m", "tessera", "worker", "--engine", "simulated"], **shared),
        running(confined(root, "tessera", "gateway", **shared, **own, **quick)) as gateway,
    ):
        deadline = time.monotonic() + 120
        while status(f"{url}/readyz")[0] != 200:
            assert gateway.poll() is None, "the gateway has ended"
            assert time.monotonic() < deadline, status(f"{url}/readyz")
            time.sleep(0.2)
        told = json.loads(status(f"{url}/readyz")[1])
        assert told["media_sandbox"] == "complete", told
        subprocess.run([sys.executable, str(REQUEST), url, "simulated", "60"], check=True)
        # Decoded by every large library that the image has, in its sandbox.
        code, answer = status(f"{url}/v1/chat/completions", demo_request("simulated"))
        assert code == 200, answer
        # `unshare` passes the signal on, as a container's runtime does.
        subprocess.run(["pkill", "-TERM", "-P", str(gateway.pid)], check=True)
        assert gateway.wait(60) == 0, "SIGTERM reaches it, and it ends without an error"
    print(
        "The image's gateway answered, as uid 10001 on a read-only root, with the sandbox strict, and ended on SIGTERM."
    )


if __name__ == "__main__":
    main(sys.argv[1])
