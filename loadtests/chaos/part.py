"""One process of the server that is to be killed, stopped and started again, many times a minute."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tessera.local.redis_server import executable
from tessera.processes import end_with_parent
from tessera.settings import Settings
from tessera.telemetry import logging

# Seconds of imports that each start would cost: workers and gateways are forked from a process that has done them.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tessera.gateway.server", "tessera.worker.simulated"])
END_S = 10.0
_WORKER_READY = re.compile(rb'"worker": "([^"]+)", "sequences"')

Run = Callable[[Settings], None]


def run_worker(settings: Settings) -> None:
    """``tessera worker --engine simulated``."""
    from tessera.worker.failure import DeploymentFailed
    from tessera.worker.simulated import run_simulated

    try:
        run_simulated(settings)
    except DeploymentFailed as error:
        sys.exit(str(error))


def run_gateway(settings: Settings) -> None:
    """``tessera gateway``."""
    from tessera.gateway.server import run_gateway as run

    run(settings)


class Part:
    """A worker or a gateway.

    Args:
        run: what the process does.
        log: what it writes, from one start to the next.

    Attributes:
        struck_at: event loop's time at which something was last done to it, by whoever does it.
    """

    def __init__(self, name: str, run: Run, settings: dict[str, Any], log: Path):
        self.name = name
        self.struck_at = float("-inf")
        self._run, self._settings, self._log = run, settings, log
        self._process: Any = None
        self._log_bytes = 0

    def start(self) -> None:
        """Start it, anew."""
        self._log_bytes = self._log.stat().st_size if self._log.exists() else 0
        self._process = _FORKS.Process(target=_begin, args=(self._run, self._settings, str(self._log)), daemon=True)
        self._process.start()

    def kill(self) -> None:
        """``kill -9``."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(END_S)

    def stop(self) -> None:
        """Have it stand still."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def terminate(self) -> None:
        """Ask it to end, and see to it that it does."""
        if self._process is None:
            return
        self.ask_to_end()
        self._process.join(END_S)
        if self._process.is_alive():
            self.kill()

    @property
    def pid(self) -> int:
        """Of its process."""
        pid: int = self._process.pid
        return pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        code: int | None = self._process.exitcode
        return code

    @property
    def worker_ids(self) -> set[str]:
        """Under which Redis knows it since its last start, if it is a worker."""
        if not self._log.exists():
            return set()
        with self._log.open("rb") as log:
            log.seek(self._log_bytes)
            return {found.decode() for found in _WORKER_READY.findall(log.read())}


class RedisPart:
    """A Redis whose data outlives it.

    Args:
        fsync: ``always`` or ``everysec``, as of ``appendfsync``; None: what it has is only in memory.
        small: what it reads at each start is to stay small: it writes its file anew again and again.
        name: of its files.
    """

    def __init__(self, folder: Path, fsync: str | None, *, small: bool = True, name: str = "redis"):
        self.socket = folder / f"{name}.sock"
        self.struck_at = float("-inf")
        persist = ["--save", "", "--dir", str(folder)]
        if fsync is not None:
            persist += ["--appendonly", "yes", "--appendfsync", fsync]
        if fsync is not None and small:
            persist += ["--auto-aof-rewrite-min-size", "8mb", "--auto-aof-rewrite-percentage", "50"]
        self._argv = [str(executable()), "--port", "0", "--unixsocket", str(self.socket), *persist]
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, on what it has written."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, preexec_fn=end_with_parent)

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(END_S)

    def stop(self) -> None:
        """Silence without a closed connection."""
        assert self._process is not None, "start first"
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self._process is not None, "start first"
        self._process.send_signal(signal.SIGCONT)


def _begin(run: Run, settings: dict[str, Any], log: str) -> None:
    end_with_parent()
    with open(log, "ab") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    parsed = Settings(**settings)
    logging.configure(parsed)
    run(parsed)
