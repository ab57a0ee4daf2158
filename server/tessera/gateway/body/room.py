"""Room for the bodies that one gateway has in memory: from their first byte until their jobs are queued."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tessera.errors import BodyMemoryFull
from tessera.telemetry import metrics

_RETRY_S = 2


class BodyRoom:
    """Counts bytes of bodies as they arrive. One that finds no room waits for some, for a bounded time.

    Args:
        most_bytes: a body that is alone may be larger.
        longest_wait_s: after that it is refused.
    """

    def __init__(self, most_bytes: int, longest_wait_s: float):
        self._most = most_bytes
        self._longest_wait_s = longest_wait_s
        self._taken = 0
        self._left = asyncio.Event()

    @contextmanager
    def enter(self) -> Iterator[Share]:
        """The share of one body; given back with the context at the latest."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()

    def take(self, share: Share, count: int) -> bool:
        """Add bytes to a share, if they fit."""
        others = self._taken - share.size
        if others and self._taken + count > self._most:
            return False
        share.size += count
        self._taken += count
        metrics.BODY_BYTES.inc(count)
        return True

    def leave(self, share: Share) -> None:
        """Take a share back."""
        if share.size:
            self._taken -= share.size
            metrics.BODY_BYTES.dec(share.size)
            share.size = 0
            self._left.set()

    async def wait(self, share: Share, count: int) -> None:
        """Add bytes to a share as soon as they fit.

        Raises:
            BodyMemoryFull: they do not for as long as one may wait.
        """
        try:
            async with asyncio.timeout(self._longest_wait_s):
                while not self.take(share, count):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError as error:
            raise BodyMemoryFull(
                f"The gateway is reading as many bytes of requests as it may at once, {self._most:,}. Send this one "
                "again in a few seconds, and large media as URLs.",
                retry_after_s=_RETRY_S,
            ) from error


class Share:
    """What one body takes.

    Attributes:
        size: bytes.
    """

    def __init__(self, room: BodyRoom):
        self.size = 0
        self._room = room

    async def grow(self, count: int) -> float:
        """Take more. Returns the seconds that it took.

        Raises:
            BodyMemoryFull
        """
        if self._room.take(self, count):
            return 0.0
        clock = asyncio.get_running_loop().time
        began = clock()
        with metrics.BODIES_WAITING.track_inprogress():
            await self._room.wait(self, count)
        return clock() - began

    def shrink(self, size: int) -> None:
        """Keep only so many bytes."""
        self._room.leave(self)
        self._room.take(self, size)

    def give_back(self) -> None:
        """The body is no longer in memory."""
        self._room.leave(self)
