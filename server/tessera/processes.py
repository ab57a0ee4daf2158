"""Leaving no process behind: whoever starts children adopts their orphans too, and ends them all."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import time
from collections.abc import Callable, Iterator

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
_KILL_AFTER_S = 5.0
# Adopted after each other at the most, so that one that cannot be killed does not hold up what comes next.
_GENERATIONS = 8
# Resolved here and not between fork and exec, where another thread's lock would stay locked for ever.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """From now on a descendant whose parent dies becomes this process's child (Linux; elsewhere nothing happens)."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however it dies (Linux). For ``preexec_fn``."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def end_descendants(root: int | None = None) -> list[str]:
    """Terminate, then kill, all descendants of a process, by default of this one.

    Returns:
        The names of those that were still there.
    """
    try:
        alive = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    names = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(process.name())
            process.terminate()
    _, stubborn = psutil.wait_procs(alive, timeout=_KILL_AFTER_S)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=_KILL_AFTER_S)
    return names


class Stopped(BaseException):
    """SIGTERM or SIGINT came. Not an ``Exception``, so that nothing on the way swallows it."""


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], None]]:
    """Raise ``Stopped`` in the main thread at the first SIGTERM or SIGINT; ignore the next ones.

    Yields:
        A function that takes the signals again, for after a library took them.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop(number: int, frame: object) -> None:
        for ignored in numbers:
            signal.signal(ignored, signal.SIG_IGN)
        raise Stopped

    def listen() -> None:
        for number in numbers:
            signal.signal(number, stop)

    before = {number: signal.getsignal(number) for number in numbers}
    listen()
    try:
        yield listen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_strays(known: set[int]) -> list[str]:
    """End the direct children of this process that are not ``known``: orphans that it adopted.

    Returns:
        Their names.
    """
    names: list[str] = []
    # Who is started meanwhile, in place of who has died, is no orphan.
    began = time.time()
    # What they leave is adopted in its turn, also what has ended and was never waited for.
    for _ in range(_GENERATIONS):
        children = psutil.Process().children()
        strays = [child for child in children if child.pid not in known and child.create_time() < began]
        if not strays:
            break
        for process in strays:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                names.append(process.name())
                process.kill()
                process.wait(_KILL_AFTER_S)
    return names
