"""Work that several want at the same time, done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(slots=True)
class _Flight(Generic[_T]):
    task: asyncio.Task[_T]
    held: ExitStack = field(default_factory=ExitStack)
    passengers: int = 0


class Flights(Generic[_T]):
    """Results by key, for those who ask while the work is under way; nothing is remembered after it."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[_T]] = {}

    @asynccontextmanager
    async def join(self, key: str, work: Callable[[ExitStack], Awaitable[_T]]) -> AsyncIterator[_T]:
        """The result of ``work``, or of the same that somebody began. It ends when the last who wants it leaves.

        What ``work`` puts on its stack is held until all who got the result have left the context.
        """
        flight = self._flights.get(key)
        if flight is None:
            held = ExitStack()
            flight = self._flights[key] = _Flight(asyncio.create_task(self._do(key, work, held)), held)
            # Its error is its passengers' business, and nobody's where all have left.
            flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        flight.passengers += 1
        try:
            try:
                result = await asyncio.shield(flight.task)
            except Exception as error:
                # One of its own for each: they write into it which part of a request it is about.
                raise copy(error) from error
            yield result
        finally:
            flight.passengers -= 1
            if not flight.passengers:
                self._end(key, flight)

    def _end(self, key: str, flight: _Flight[_T]) -> None:
        if flight.task.done():
            flight.held.close()
            return
        # Nobody joins it any more.
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.task.add_done_callback(lambda _: flight.held.close())
        flight.task.cancel()

    async def _do(self, key: str, work: Callable[[ExitStack], Awaitable[_T]], held: ExitStack) -> _T:
        task = asyncio.current_task()
        try:
            return await work(held)
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is task:
                del self._flights[key]
