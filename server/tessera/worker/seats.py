"""The sequences that an engine runs at once, and which jobs take them up."""

from __future__ import annotations

import asyncio
from typing import Any

from tessera.queue import Lease


class Seats:
    """Room for jobs.

    Args:
        capacity: sequences that the engine runs at once.

    Attributes:
        changed: set when some became free.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._free = capacity
        self._taken: dict[asyncio.Task[None], tuple[int, bool]] = {}
        self.changed = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether there is room for no job at all."""
        return self._free <= 0

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that run the jobs."""
        return list(self._taken)

    def room(self) -> dict[str, Any]:
        """What a claim says of it; see ``Broker.lease``."""
        of_batches = sum(width for width, batch in self._taken.values() if batch)
        return {"free": self._free, "capacity": self._capacity, "of_batches": of_batches}

    def take(self, task: asyncio.Task[None], lease: Lease) -> None:
        """A job begins, in a task of its own."""
        self._taken[task] = (lease.width, lease.job.batch)
        self._free -= lease.width

    def give_back(self, task: asyncio.Task[None]) -> None:
        """Its task has ended."""
        self._free += self._taken.pop(task)[0]
        self.changed.set()

    def narrow(self, task: asyncio.Task[None], width: int) -> None:
        """It takes up no more than so many from now on."""
        taken, batch = self._taken.get(task, (0, False))
        if width < taken:
            self._taken[task] = (width, batch)
            self._free += taken - width
            self.changed.set()
