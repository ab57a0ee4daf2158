"""A budget of bytes that concurrent work shares: back-pressure for reading and decoding."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from heapq import heappop, heappush
from itertools import count

from tessera.errors import MediaMemoryFull
from tessera.telemetry import media as metrics

_RETRY_S = 5


class Share:
    """What one piece of work holds of a budget; see ``ByteBudget.open``.

    Attributes:
        place: in the order in which they came.
        size: bytes.
    """

    __slots__ = ("_budget", "place", "size")

    def __init__(self, budget: ByteBudget, place: int):
        self._budget = budget
        self.place = place
        self.size = 0

    def grow(self, nbytes: int) -> bool:
        """Hold so many bytes more, if there is room now."""
        return self._budget.take(self, nbytes)

    async def wait(self, nbytes: int) -> None:
        """Hold so many bytes more as soon as there is room.

        Raises:
            MediaMemoryFull: there was none for as long as one may wait.
        """
        await self._budget.wait(self, nbytes)

    def shrink(self, size: int) -> None:
        """Hold no more than ``size`` bytes."""
        self._budget.give_back(self, self.size - size)


class ByteBudget:
    """First come, first served, for a bounded time: whoever came first goes first, also when it asks for more.

    Of those who are in, the first gets what it asks for, always: so those who ask for more while they hold something
    never wait for each other without end, and something larger than the whole budget runs alone.

    Args:
        use: what the bytes are held for, as metrics call it.
        limit: bytes that may be held at once.
        longest_wait_s: after that a request is refused.
        kept: bytes that are kept free for the first, as many as one may ask for in pieces.
    """

    def __init__(self, use: str, limit: int, longest_wait_s: float, *, kept: int = 0):
        self._limit = limit
        self._kept = kept
        self._longest_wait_s = longest_wait_s
        self._held = 0
        self._shares: OrderedDict[Share, None] = OrderedDict()
        self._places = count()
        self._waiting: dict[int, tuple[Share, int, asyncio.Future[None]]] = {}
        # Places of those who wait, and of some who do not any more.
        self._line: list[int] = []
        self._bytes = metrics.memory_bytes.labels(use)
        self._waiters = metrics.memory_waiting.labels(use)
        self._waits = metrics.memory_wait_seconds.labels(use)

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    @contextmanager
    def open(self) -> Iterator[Share]:
        """A share, of no bytes yet; all that it holds is given back when the block ends, however it ends."""
        share = Share(self, next(self._places))
        self._shares[share] = None
        try:
            yield share
        finally:
            del self._shares[share]
            self.give_back(share, share.size)

    @asynccontextmanager
    async def hold(self, nbytes: int) -> AsyncIterator[None]:
        """Hold ``nbytes`` (waiting for room) until the block ends. Raises ``MediaMemoryFull``."""
        with self.open() as share:
            if not share.grow(nbytes):
                await share.wait(nbytes)
            yield

    def take(self, share: Share, nbytes: int) -> bool:
        """See ``Share.grow``."""
        first = next(iter(self._shares))
        if share is not first and (self._waiting or not self._fits(first, nbytes)):
            return False
        self._grant(share, nbytes)
        return True

    async def wait(self, share: Share, nbytes: int) -> None:
        """See ``Share.wait``."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[share.place] = (share, nbytes, turn)
        heappush(self._line, share.place)
        # Should the turn come in the same moment as a cancellation, the share has it, and gives it back.
        with self._waiters.track_inprogress(), self._waits.time():
            try:
                self._wake()
                async with asyncio.timeout(self._longest_wait_s):
                    await turn
            except TimeoutError as error:
                raise MediaMemoryFull(
                    f"The gateway has as much media in memory as it may at once ({self._limit:,} bytes of this kind). "
                    "Send this request again in a few seconds.",
                    retry_after_s=_RETRY_S,
                ) from error
            finally:
                if self._waiting.pop(share.place, None) is not None:
                    self._wake()

    def give_back(self, share: Share, nbytes: int) -> None:
        """See ``Share.shrink``."""
        share.size -= nbytes
        self._held -= nbytes
        self._bytes.dec(nbytes)
        self._wake()

    def _fits(self, first: Share, nbytes: int) -> bool:
        return self._held + nbytes + max(0, self._kept - first.size) <= self._limit

    def _grant(self, share: Share, nbytes: int) -> None:
        share.size += nbytes
        self._held += nbytes
        self._bytes.inc(nbytes)

    def _wake(self) -> None:
        while self._line:
            if self._line[0] in self._waiting:
                share, nbytes, turn = self._waiting[self._line[0]]
                first = next(iter(self._shares))
                if share is not first and not self._fits(first, nbytes):
                    return
                del self._waiting[share.place]
                if not turn.cancelled():
                    self._grant(share, nbytes)
                    turn.set_result(None)
            heappop(self._line)
