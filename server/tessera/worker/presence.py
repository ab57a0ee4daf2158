"""A folder in which workers say that they serve, and are told to end: for whoever stops the machine or pod they are in.

Ray ends its processes without asking them. What stops a pod can ask first (``tessera drain``), and what watches it can
see whether a worker serves in it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

POLL_S = 0.2
_SERVING = "serving-"


class Presence:
    """All workers of a machine or pod share one folder (``TESSERA_WORKER_FOLDER``)."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._order = folder / "drain"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A worker of this process serves while the context lasts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder / f"{_SERVING}{os.getpid()}-{secrets.token_hex(4)}"
        mark.touch()
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)

    def draining(self) -> bool:
        """Whether workers are to take no more jobs.

        What an earlier container of the same pod was told does not count: a folder outlives it.
        """
        try:
            return self._order.stat().st_mtime >= psutil.Process(1).create_time()
        except FileNotFoundError:
            return False

    def drain(self, at_most_s: float) -> bool:
        """Have all workers end their jobs and take no more. Returns False where some still serve after that time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._order.touch()
        deadline = time.monotonic() + at_most_s
        while self.served():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        # Left over, it would stop whoever comes next.
        self._order.unlink(missing_ok=True)
        return True

    def served(self) -> bool:
        """Whether a worker serves. The marks of those that were killed are removed."""
        alive = False
        for mark in self._folder.glob(f"{_SERVING}*"):
            if psutil.pid_exists(int(mark.name.removeprefix(_SERVING).partition("-")[0])):
                alive = True
            else:
                with suppress(FileNotFoundError):
                    mark.unlink()
        return alive
