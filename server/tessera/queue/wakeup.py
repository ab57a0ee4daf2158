"""Waiting for work or room without polling: workers block on tokens that ``enqueue`` leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import redis.asyncio as aioredis

from tessera.queue.keys import Keys
from tessera.redis_direct import Direct

# A token may be lost with the worker that took it, so a wait is never longer than this.
LONGEST_WAIT_S = 1.0


class Wakeup:
    """Blocks until a model's queue may have work.

    Args:
        redis: a client whose time limit allows blocking for ``LONGEST_WAIT_S``.
    """

    def __init__(self, redis: aioredis.Redis, keys: Keys, model: str):
        self._direct = Direct(redis)
        self._key = keys.wake(model)
        # A call that is given up may have taken a token, so the next wait goes on with it.
        self._asking: asyncio.Task[Any] | None = None

    async def wait(self, or_until: asyncio.Event) -> None:
        """Return when a job was queued, ``or_until`` is set, or after ``LONGEST_WAIT_S``. Raises redis-py's errors."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        event = asyncio.create_task(or_until.wait())
        try:
            await asyncio.wait([self._asking, event], return_when=asyncio.FIRST_COMPLETED)
        finally:
            event.cancel()
        if self._asking.done():
            asked, self._asking = self._asking, None
            asked.result()

    async def aclose(self) -> None:
        """Wait no more."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await self._asking

    async def _ask(self) -> None:
        await self._direct.command("BLPOP", self._key, LONGEST_WAIT_S)
