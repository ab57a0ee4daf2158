"""``tessera worker`` with real vLLM, a Ray of its own below it, as a pod of a Deployment runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtests.chaos.part import run_worker
from loadtests.chaos.release import ReleasedPart, root
from loadtests.chaos.replica import STOP_S
from tessera.processes import end_descendants


class EnginePart(ReleasedPart):
    """See ``Part``.

    Args:
        tree: of another version; None: of this one.
    """

    def __init__(self, name: str, settings: dict[str, Any], log: Path, tree: Path | None):
        super().__init__(name, run_worker, settings, log, tree or root())
        # Each has a folder to itself, whose path has to be short: Ray's sockets lie deep in it.
        scratch = log.with_suffix("")
        # Each line of a replica is to be told, also where it is like the one before.
        self._env |= {"RAY_TMPDIR": str(scratch), "RAY_DEDUP_LOGS": "0"}

    def kill(self) -> None:
        """``kill -9`` of all that it started, too."""
        end_descendants(self.pid)
        super().kill()

    def terminate(self) -> None:
        """Ask it to end, and see to it that it does."""
        if self._process is None:
            return
        self.ask_to_end()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self.kill()
