"""Looks after the Redises: whether they answer, how fast, how full they are, and whether they can be used at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Any

import redis.asyncio as aioredis
import structlog
from redis.exceptions import ResponseError

from tessera.queue import REDIS_UNAVAILABLE, infos
from tessera.queue.certificate import ends_of
from tessera.queue.fitness import misfit
from tessera.settings import Settings
from tessera.telemetry import redis as metrics

log = structlog.get_logger()

PERIOD_S = 5.0


class RedisWatch:
    """Attributes:
    problems: what is wrong with a Redis that answers, by its name.
    """

    def __init__(self, redises: Mapping[str, aioredis.Redis], settings: Settings):
        self._redises = redises
        self._settings = settings
        self.problems: dict[str, str] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.gather(*(self._look(name, redis) for name, redis in self._redises.items()))
            await asyncio.to_thread(self._look_at_certificates)
            await asyncio.sleep(PERIOD_S)

    async def _look(self, name: str, redis: aioredis.Redis) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.redis_timeout_s):
                await redis.ping()
                took_s = time.perf_counter() - began
                told = await _told(redis)
        except REDIS_UNAVAILABLE:
            # Others tell of it; a value of before would say that all is well.
            metrics.UP.labels(name).set(0)
            for gauge in (metrics.PING_SECONDS, metrics.MEMORY_BYTES, metrics.MAX_MEMORY_BYTES):
                with suppress(KeyError):
                    gauge.remove(name)
            return
        problem = next(filter(None, map(misfit, told)), "")
        if problem != self.problems.get(name, ""):
            log.error("redis_unfit", redis=name, problem=problem) if problem else log.info("redis_fit", redis=name)
        self.problems.pop(name, None)
        if problem:
            self.problems[name] = problem
        metrics.UP.labels(name).set(not problem)
        metrics.PING_SECONDS.labels(name).set(took_s)
        # Of a Cluster, the fullest part: all that a model has is in one.
        info = max(told, key=_fullness)
        metrics.MEMORY_BYTES.labels(name).set(info.get("used_memory", 0))
        metrics.MAX_MEMORY_BYTES.labels(name).set(info.get("maxmemory", 0))

    def _look_at_certificates(self) -> None:
        """Those that are renewed are files, too."""
        # Of a chain the first one is ours; of authorities, one that is valid is enough.
        for name, file, which in (
            ("client", self._settings.redis_cert_file, itemgetter(0)),
            ("ca", self._settings.redis_ca_file, max),
        ):
            if file is not None:
                try:
                    metrics.CERTIFICATE_END.labels(name).set(which(ends_of(file)))
                except (OSError, ValueError, IndexError) as error:
                    log.warning("certificate_unreadable", certificate=name, error=str(error))


async def _told(redis: aioredis.Redis) -> list[dict[str, Any]]:
    try:
        return await infos(redis)
    except ResponseError:  # an ACL may keep it to itself
        return [{}]


def _fullness(info: dict[str, Any]) -> float:
    most = info.get("maxmemory", 0)
    return float(info.get("used_memory", 0) / most) if most else float(info.get("used_memory", 0))
