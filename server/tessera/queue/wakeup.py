"""Waiting for people's jobs or for room without polling: workers block on tokens that ``enqueue`` leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import redis.asyncio as aioredis

from tessera.queue.keys import Keys
from tessera.redis_direct import Direct

# A token may be lost with the worker that took it, so a wait is never longer than this.
LONGEST_WAIT_S = 1.0
# Of a token that is handed on and that nobody takes.
_KEPT_MS = 60_000


class Wakeup:
    """Blocks until a model's queue may have a person's job: those of batches wait until there is room for them.

    Args:
        redis: a client whose time limit allows blocking for ``LONGEST_WAIT_S``.
    """

    def __init__(self, redis: aioredis.Redis, keys: Keys, model: str):
        self._direct = Direct(redis)
        self._key = keys.wake(model)
        # A call that is given up may have taken a token, so the next wait goes on with it.
        self._asking: asyncio.Task[None] | None = None
        self._hands_on = False

    async def wait(self, or_until: asyncio.Event) -> None:
        """Return when one was queued, ``or_until`` is set, or after ``LONGEST_WAIT_S``. Raises redis-py's errors."""
        event = asyncio.create_task(or_until.wait())
        try:
            await self._wait([event])
        finally:
            event.cancel()

    async def wait_for(self, longest_s: float) -> bool:
        """Return whether one may have been queued within this time. Raises redis-py's errors."""
        return await self._wait([], longest_s)

    async def _wait(self, others: list[asyncio.Task[Any]], longest_s: float | None = None) -> bool:
        self._hands_on = False
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait([self._asking, *others], timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
        if not self._asking.done():
            return False
        asked, self._asking = self._asking, None
        asked.result()
        return True

    def hand_on(self) -> None:
        """Let whoever else waits have what a wait that was given up still hears, until the next wait."""
        self._hands_on = True

    async def aclose(self) -> None:
        """Wait no more."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await self._asking

    async def _ask(self) -> None:
        token = await self._direct.command("BLPOP", self._key, LONGEST_WAIT_S, blocking_s=LONGEST_WAIT_S)
        if token and self._hands_on:
            await self._direct.command("PEXPIRE", self._key, _KEPT_MS, behind=[("RPUSH", self._key, "1")])
