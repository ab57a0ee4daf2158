"""Who may decode when: in order, and small work also in a slot of its own, so that it does not wait behind large."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """First come, first served.

    Args:
        number: slots for everything; one more takes small work only.
    """

    def __init__(self, number: int):
        self._free = number
        self._small_free = 1
        self._waiting: deque[tuple[bool, asyncio.Future[bool]]] = deque()

    @asynccontextmanager
    async def take(self, *, small: bool) -> AsyncIterator[None]:
        """Hold a slot while the context lasts."""
        express = await self._enter(small)
        try:
            yield
        finally:
            self._leave(express)

    async def _enter(self, small: bool) -> bool:
        """Returns whether it is the slot for small work."""
        if self._free:
            self._free -= 1
            return False
        if small and self._small_free:
            self._small_free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((small, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((small, turn))
            else:
                self._leave(turn.result())
            raise

    def _leave(self, express: bool) -> None:
        for place, (small, turn) in enumerate(self._waiting):
            if not turn.cancelled() and (small or not express):
                del self._waiting[place]
                turn.set_result(express)
                return
        if express:
            self._small_free += 1
        else:
            self._free += 1
