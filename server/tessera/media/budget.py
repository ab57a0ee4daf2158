"""A budget of bytes that concurrent work shares: back-pressure for decoding."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """First come, first served; something larger than the whole budget runs alone.

    Args:
        limit: bytes that may be held at once.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._held = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def limit(self) -> int:
        """Bytes that may be held at once."""
        return self._limit

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    @asynccontextmanager
    async def hold(self, nbytes: int) -> AsyncIterator[None]:
        """Hold ``nbytes`` (waiting for room) until the block ends, however it ends."""
        nbytes = min(nbytes, self._limit)
        await self._acquire(nbytes)
        try:
            yield
        finally:
            self._release(nbytes)

    async def _acquire(self, nbytes: int) -> None:
        if not self._waiters and self._held + nbytes <= self._limit:
            self._held += nbytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((nbytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # The turn may have come in the same loop iteration as the cancellation.
            if turn.done() and not turn.cancelled():
                self._release(nbytes)
            else:
                self._waiters.remove((nbytes, turn))
                self._wake()
            raise

    def _release(self, nbytes: int) -> None:
        self._held -= nbytes
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            nbytes, turn = self._waiters[0]
            if self._held + nbytes > self._limit:
                return
            self._waiters.popleft()
            self._held += nbytes
            turn.set_result(None)
