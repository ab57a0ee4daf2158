"""Another version of the server, to be replaced by this one while both run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loadtests.chaos.part import Part, Run, run_gateway, run_worker
from tessera.processes import end_with_parent

_COMMANDS: dict[Run, str] = {run_gateway: "gateway", run_worker: "worker"}


def root() -> Path:
    """The tree of this version."""
    return Path(__file__).resolve().parents[2]


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """The files of a commit, until the context ends. Raises ``CalledProcessError`` where there is none."""
    git = ["git", "-C", str(root()), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


class ReleasedPart(Part):
    """A part that runs the code of another tree; it is slower to start, since it is not forked.

    Args:
        tree: what has ``server/tessera`` in it.
    """

    def __init__(self, name: str, run: Run, settings: dict[str, Any], log: Path, tree: Path):
        super().__init__(name, run, settings, log)
        self._argv = [sys.executable, "-m", "tessera", _COMMANDS[run]]
        given = {f"TESSERA_{setting.upper()}": str(value) for setting, value in settings.items()}
        self._env = {**os.environ, **given, "PYTHONPATH": str(tree / "server")}

    def start(self) -> None:
        """Start it, anew."""
        self._log_bytes = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            program = subprocess.Popen(self._argv, env=self._env, stdout=log, stderr=log, preexec_fn=end_with_parent)
        self._process = _Program(program)


def new_part(name: str, run: Run, settings: dict[str, Any], log: Path, tree: Path | None) -> Part:
    """A part of this version, or of that in a tree."""
    return Part(name, run, settings, log) if tree is None else ReleasedPart(name, run, settings, log, tree)


class _Program:
    """What ``Part`` asks of a process of ``multiprocessing``."""

    def __init__(self, program: subprocess.Popen[bytes]):
        self._program = program
        self.pid = program.pid
        self.terminate = program.terminate

    def join(self, timeout_s: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._program.wait(timeout_s)

    def is_alive(self) -> bool:
        return self._program.poll() is None

    @property
    def exitcode(self) -> int | None:
        return self._program.poll()
