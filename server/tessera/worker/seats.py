"""The sequences that an engine runs at once, and which jobs take them up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from tessera.queue import Lease

# Weight of the newest job of a batch in what one of them takes.
_NEWEST = 1 / 8


@dataclass(slots=True)
class _Seated:
    width: int
    batch: bool
    since: float


class Seats:
    """Room for jobs.

    Args:
        capacity: sequences that the engine runs at once.
        of_batches: those of them that jobs of batches may take up.

    Attributes:
        changed: set when some became free.
        batch_s: how long a job of a batch takes, of late; 0: none has ended.
    """

    def __init__(self, capacity: int, of_batches: int):
        self._capacity = capacity
        self._places_of_batches = of_batches
        self._free = capacity
        self._taken: dict[asyncio.Task[None], _Seated] = {}
        self.batch_s = 0.0
        self.changed = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether there is room for no job at all."""
        return self._free <= 0

    @property
    def full_of_batches(self) -> bool:
        """Whether there is room for no job of a batch."""
        return self.full or self._of_batches >= self._places_of_batches

    @property
    def _of_batches(self) -> int:
        return sum(seated.width for seated in self._taken.values() if seated.batch)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that run the jobs."""
        return list(self._taken)

    def room(self) -> dict[str, Any]:
        """What a claim says of it; see ``Broker.lease``."""
        return {"free": self._free, "capacity": self._capacity, "of_batches": self._of_batches}

    def take(self, task: asyncio.Task[None], lease: Lease) -> None:
        """A job begins, in a task of its own."""
        self._taken[task] = _Seated(lease.width, lease.job.batch, time.monotonic())
        self._free -= lease.width

    def give_back(self, task: asyncio.Task[None]) -> None:
        """Its task has ended."""
        seated = self._taken.pop(task)
        self._free += seated.width
        if seated.batch:
            self.batch_s += _NEWEST * (time.monotonic() - seated.since - self.batch_s)
        self.changed.set()

    def narrow(self, task: asyncio.Task[None], width: int) -> None:
        """It takes up no more than so many from now on."""
        seated = self._taken.get(task)
        if seated is not None and width < seated.width:
            self._free += seated.width - width
            seated.width = width
            self.changed.set()
