"""How much the parts of a server log, as an operator has changed it while they run; they look for it in Redis."""

from __future__ import annotations

import asyncio
from typing import Literal, get_args

import redis.asyncio as aioredis
import structlog
from redis.exceptions import RedisError

from tessera.queue.keys import Keys
from tessera.settings import Settings
from tessera.telemetry import logging

log = structlog.get_logger()

LOOK_EVERY_S = 2.0

LogPart = Literal["gateway", "worker"]
LOG_PARTS: tuple[LogPart, ...] = get_args(LogPart)


class LogLevels:
    """Levels in one Redis; a part without one has that of its own settings. Methods raise redis-py's errors."""

    def __init__(self, redis: aioredis.Redis, keys: Keys):
        self._redis = redis
        self._key = keys.log_levels

    async def set(self, part: LogPart, level: str) -> None:
        """Have all processes of a kind log at a level, until it is set anew."""
        await self._redis.hset(self._key, part, level)

    async def forget(self, part: LogPart) -> None:
        """Have them go back to what their settings say."""
        await self._redis.hdel(self._key, part)

    async def of(self, part: LogPart) -> str | None:
        """The level that was set."""
        raw = await self._redis.hget(self._key, part)
        return next((level for level in logging.LEVELS if level.encode() == raw), None)


class FollowedLogLevel:
    """Changes the level of this process as it is changed in Redis."""

    def __init__(self, levels: LogLevels, part: LogPart, settings: Settings):
        self._levels = levels
        self._part: LogPart = part
        self._own = self._now = settings.log_level

    async def run(self) -> None:
        """Look until cancelled. While Redis is away, all stays as it is."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once."""
        try:
            wanted = await self._levels.of(self._part) or self._own
        except RedisError:
            return
        if wanted != self._now:
            self._now = wanted
            logging.set_level(wanted)
            log.warning("log_level_changed", level=wanted, by_setting=wanted == self._own)
