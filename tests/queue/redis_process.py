"""A Redis that a test may kill, pause and start again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tessera.local.redis_server import executable
from tests.conftest import _await_redis


class RedisProcess:
    """A Redis of its own that can be killed and started again on the same append-only file."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        persist = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder)]
        argv = [executable(), "--port", "0", "--unixsocket", str(self.socket), *persist]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        _await_redis(self.socket)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Silence without a closed connection, as from a host that vanished."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
