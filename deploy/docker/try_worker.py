"""Runs the worker of an unpacked image without a GPU as its user, on a root that cannot be written to, and asks it.

``python -m deploy.docker.try_worker ROOT``, as root: the last step of `make images ARGS=worker-cpu`. It starts Ray and
real vLLM with the small model, both of the image, or neither with ``simulated`` behind it; the gateway and Redis are
those of this machine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from deploy.docker.try_gateway import REQUEST, confined, running, status
from tessera.local.redis_server import executable
from tessera.local.stack import free_port
from tessera.settings import EMBEDDED_MODEL_NAME
from tessera.settings.worker import SIMULATED

START_S = 400
# Ray's own processes have to end, too.
END_S = 120


def main(root: str, engine: str = "vllm") -> None:
    """Raises AssertionError where something is not as promised."""
    model = SIMULATED if engine == SIMULATED else EMBEDDED_MODEL_NAME
    port, redis_port = free_port(), free_port()
    shared = {"TESSERA_REDIS_URL": f"redis://127.0.0.1:{redis_port}", "TESSERA_REDIS_PREFIX": "try"}
    own = {"TESSERA_HOST": "127.0.0.1", "TESSERA_PORT": str(port), "TESSERA_LOG_FORMAT": "json"}
    home = {"HOME": "/home/tessera", "TESSERA_WORKER_FOLDER": "/tmp/tessera", "TESSERA_LOG_FORMAT": "json"}
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as folder,
        running([str(executable()), "--port", str(redis_port), "--save", "", "--dir", folder]),
        running([sys.executable, "-m", "tessera", "gateway"], **shared, **own),
        running(confined(root, "tessera", "worker", "--engine", engine, **shared, **home)) as worker,
    ):
        deadline = time.monotonic() + START_S
        while status(f"{url}/readyz")[0] != 200:
            assert worker.poll() is None, "the worker has ended"
            assert time.monotonic() < deadline, status(f"{url}/readyz")
            time.sleep(1)
        subprocess.run([sys.executable, str(REQUEST), url, model, "120"], check=True)
        # `unshare` passes the signal on, as a container's runtime does.
        subprocess.run(["pkill", "-TERM", "-P", str(worker.pid)], check=True)
        assert worker.wait(END_S) == 0, "SIGTERM reaches it, and it ends without an error"
    print(f"The image's worker answered ({engine}), as uid 10001 on a read-only root, and ended on SIGTERM.")


if __name__ == "__main__":
    main(*sys.argv[1:])
