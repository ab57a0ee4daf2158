"""``tessera worker --engine simulated`` as a process of its own, to be killed or stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tessera.settings import Settings
from tests.environment import environment

END_S = 30


class WorkerProcess(subprocess.Popen[bytes]):
    """Attributes:
    log: what it wrote.
    """

    def __init__(self, settings: Settings, log: Path):
        self.log = log
        argv = [sys.executable, "-m", "tessera", "worker", "--engine", "simulated"]
        with log.open("wb") as output:
            super().__init__(argv, env={**os.environ, **environment(settings)}, stdout=output, stderr=output)

    def said(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()


@contextmanager
def worker_process(settings: Settings, log: Path) -> Iterator[WorkerProcess]:
    """A worker until the context ends."""
    process = WorkerProcess(settings, log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(END_S)
