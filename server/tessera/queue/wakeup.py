"""Waiting for work without polling: idle workers block on tokens that ``enqueue`` leaves."""

from __future__ import annotations

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

    async def wait(self) -> None:
        """Return when a job was queued, or after ``LONGEST_WAIT_S``. Raises redis-py's errors."""
        await self._direct.command("BLPOP", self._key, LONGEST_WAIT_S)
