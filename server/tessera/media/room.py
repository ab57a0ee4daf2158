"""Waiting for room in the media store: first come, first served in this process, and for a bounded time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from tessera.errors import MediaStoreFull
from tessera.telemetry import media as metrics

_RETRY_S = 5
# Room that another gateway's requests leave is found by asking: first soon, then less often.
_FIRST_POLL_S = 0.05
_LONGEST_POLL_S = 1.0


class Room:
    """Lets those in for whom there is room.

    Only the first in the line asks for it, so that however many wait, the store hardly notices. Requests that hold
    something while each waits for what the others hold go on when the first of them has waited for too long.

    Args:
        longest_wait_s: after that the store is full.
    """

    def __init__(self, longest_wait_s: float):
        self._longest_wait_s = longest_wait_s
        self._line = asyncio.Lock()
        self._left = asyncio.Event()

    def notice(self) -> None:
        """Somebody has left: there may be room now."""
        self._left.set()

    async def enter(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Call ``attempt`` until it says that it was let in.

        Raises:
            MediaStoreFull: there was no room for as long as one may wait.
        """
        if not self._line.locked() and await attempt():
            return
        # Not all alike: of requests that wait for each other and came at once, one is to give up before the others.
        limit_s = self._longest_wait_s * random.uniform(0.8, 1.0)
        end = asyncio.get_running_loop().time() + limit_s
        with _observed():
            try:
                async with asyncio.timeout_at(end):
                    await self._line.acquire()
            except TimeoutError as error:
                raise _full() from error
            try:
                await self._insist(attempt, end)
            finally:
                self._line.release()

    async def _insist(self, attempt: Callable[[], Awaitable[bool]], end: float) -> None:
        clock = asyncio.get_running_loop().time
        pause_s = _FIRST_POLL_S
        while True:
            self._left.clear()
            if await attempt():
                return
            if clock() >= end:
                raise _full()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(end, clock() + pause_s * random.uniform(0.5, 1.0))):
                    await self._left.wait()
            pause_s = min(2 * pause_s, _LONGEST_POLL_S)


@contextmanager
def _observed() -> Iterator[None]:
    metrics.store_waiting.inc()
    try:
        with metrics.store_wait_seconds.time():
            yield
    finally:
        metrics.store_waiting.dec()


def _full() -> MediaStoreFull:
    message = "The media store is full: requests that wait or run need all of it. Send this one again in a few seconds."
    return MediaStoreFull(message, retry_after_s=_RETRY_S)
