"""Work that several want at the same time, done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(slots=True)
class _Flight(Generic[_T]):
    task: asyncio.Task[_T]
    passengers: int = 0


class Flights(Generic[_T]):
    """Results by key, for those who ask while the work is under way; nothing is remembered after it."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[_T]] = {}

    async def join(self, key: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """The result of ``work``, or of the same that somebody began. It ends when the last who wants it leaves."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._do(key, work)))
            # Its error is its passengers' business, and nobody's where all have left.
            flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers and not flight.task.done():
                # Nobody joins it any more.
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()

    async def _do(self, key: str, work: Callable[[], Awaitable[_T]]) -> _T:
        task = asyncio.current_task()
        try:
            return await work()
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is task:
                del self._flights[key]
