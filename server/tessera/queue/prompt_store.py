"""What workers announce of their models' tokenizers and chat templates: once for each content, by its digest."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import redis.asyncio as aioredis

from tessera.queue.keys import Keys


class PromptStore:
    """The announcements in one Redis. Methods raise redis-py's errors."""

    def __init__(self, redis: aioredis.Redis, keys: Keys):
        self._redis = redis
        self._keys = keys

    async def announce(self, digest: str, packed: bytes, *, ttl_s: float) -> None:
        """Keep it for ``ttl_s``; to be repeated before that is over. It is only sent where it is not there."""
        key, ttl = self._keys.prompts(digest), math.ceil(ttl_s)
        if not await self._redis.expire(key, ttl):
            await self._redis.set(key, packed, ex=ttl)

    async def get(self, digest: str) -> bytes | None:
        """What was announced; None where nobody announces it, or it was damaged."""
        packed: Any = await self._redis.get(self._keys.prompts(digest))
        if not isinstance(packed, bytes) or hashlib.sha256(packed).hexdigest() != digest:
            return None
        return packed
