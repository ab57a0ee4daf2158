"""CPU time and memory by part of the stack: which process a request's milliseconds are spent in."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

CLIENT = "client"
ROUTER = "router"
# What a command line must contain, and what the process is then called; its children are counted with it.
_PARTS = {
    "tessera gateway": "gateway",
    "redis-server": "redis",
    # It gives itself this title.
    "sglang::router": ROUTER,
    "ray::ServeReplica": "replica (vLLM's API server)",
    "VLLM::EngineCore": "vLLM engine core",
    "VLLM::Worker": "vLLM worker",
}
# Also a simulated worker, which runs in the process that `tessera worker` is.
OTHERS = "Ray and others"


class StolenTime:
    """Time in which a core of this machine, where it is a virtual one, was wanted and another machine had it."""

    def __init__(self) -> None:
        self._began_s, self._before_s = time.monotonic(), self._stolen_s()

    def share(self) -> float:
        """Of the cores' time since this was made."""
        took_s = time.monotonic() - self._began_s
        return (self._stolen_s() - self._before_s) / took_s / (psutil.cpu_count() or 1)

    @staticmethod
    def _stolen_s() -> float:
        return getattr(psutil.cpu_times(), "steal", 0.0)


class ProcessTimes:
    """CPU times of this process (the client) and its descendants (the stack), as they are when it is made."""

    def __init__(self) -> None:
        own = psutil.Process()
        self._parts = {own: CLIENT}
        # Parents come before their children.
        for process in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                self._parts[process] = self._part(process)

    def read(self) -> dict[str, float]:
        """CPU seconds since each process began, user and system, by part."""
        seconds: dict[str, float] = {}
        for process, part in self._parts.items():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds[part] = seconds.get(part, 0.0) + times.user + times.system
        return seconds

    def resident_bytes(self) -> dict[str, int]:
        """What of each part is in memory now; pages that its processes share count for each."""
        resident: dict[str, int] = {}
        for process, part in self._parts.items():
            with suppress(psutil.NoSuchProcess):
                resident[part] = resident.get(part, 0) + process.memory_info().rss
        return resident

    @staticmethod
    def machine() -> float:
        """CPU seconds of all processes since the machine began."""
        times = psutil.cpu_times()
        # Not every system has all of them; Linux counts guests as users.
        return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))

    def _part(self, process: psutil.Process) -> str:
        command = " ".join(process.cmdline())
        for mark, part in _PARTS.items():
            if mark in command:
                return part
        parent = process.parent()
        inherited = self._parts.get(parent, CLIENT) if parent else CLIENT
        return OTHERS if inherited == CLIENT else inherited
