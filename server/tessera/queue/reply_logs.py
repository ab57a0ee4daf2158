"""The reply logs' verbs: whoever writes an answer and whoever reads it needs no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from tessera.queue.connection import REDIS_UNAVAILABLE, reach, unreachable
from tessera.queue.job import Lease
from tessera.queue.keys import Keys
from tessera.queue.log import ENTRY_COST_BYTES, Append, Part, Place, Unwritten
from tessera.queue.scripts import Script, script
from tessera.settings import Settings

_T = TypeVar("_T")

# Jobs of a worker in one call, so that nobody else waits long for Redis.
HELD_AT_ONCE = 256


class ReplyLogs:
    """Those of the jobs of every model in one Redis. Each verb is one atomic script, or a read; any may be repeated.

    Every method raises ``QueueUnavailable`` when Redis cannot be reached in ``TESSERA_REDIS_TIMEOUT_S``.
    """

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        self.keys = Keys(settings.redis_prefix)
        self._reply_ttl_ms = settings.reply_ttl_s * 1000
        self._lease_ms = int(settings.lease_s * 1000)
        self._append, self._read, self._follow = (self._script(n) for n in ("append", "read", "follow"))

    def _script(self, name: str) -> Script:
        return script(self._redis, name, self._settings.redis_timeout_s)

    async def append(self, model: str, appends: Iterable[Append]) -> Unwritten:
        """Write entries of several jobs. Returns the ids of those that the caller no longer holds."""
        unwritten = Unwritten()
        for some in in_batches(appends):
            arguments: list[Any] = [self._settings.max_reply_bytes]
            for a in some:
                counted = a.counted or (sum(map(len, a.entries)), len(a.steps))
                arguments += (a.job_id, a.epoch, int(a.final), a.offset, len(a.entries), *counted, a.steps, *a.entries)
            lost, held_back = await self._call(self._append, model, self._lease_ms, self._reply_ttl_ms, *arguments)
            unwritten += [job_id.decode() for job_id in lost]
            unwritten.held_back = [*unwritten.held_back, *(job_id.decode() for job_id in held_back)]
        return unwritten

    async def follow(self, model: str, job_id: str, channel: str) -> None:
        """Announce what is written of a job's reply on one more channel, for as long as the job has not ended."""
        await self._call(self._follow, model, job_id, channel)

    async def read(self, places: Sequence[Place]) -> list[Part]:
        """What the logs of several jobs hold behind a place in each.

        A log that somebody still has to read lives on for another ``TESSERA_REPLY_TTL_S``.
        """
        parts: dict[Place, Part] = {}
        for model in {place.model for place in places}:
            asked = [place for place in places if place.model == model]
            rows = [part for place in asked for part in place[1:]]
            found = await self._call(self._read, model, self._reply_ttl_ms, ENTRY_COST_BYTES, *rows)
            for place, (state, length, first, entries) in zip(asked, found, strict=True):
                parts[place] = Part(entries, length, first, state)
        return [parts[place] for place in places]

    async def recall(self, lease: Lease) -> tuple[list[bytes], list[bytes]]:
        """What earlier workers wrote of a job's reply: its entries, and the engine's steps that led to them.

        Raises:
            ValueError: that is damaged.
        """
        model, job_id = lease.job.model, lease.job.id
        async with reach(self._settings), self._redis.pipeline(transaction=True) as pipe:
            pipe.lrange(self.keys.log(model, job_id), 0, lease.written - 1)
            pipe.lrange(self.keys.steps(model, job_id), 0, -1)
            try:
                entries, steps = await pipe.execute()
            except ResponseError as error:
                raise ValueError(f"the record of the reply is damaged: {error}") from error
        return entries, steps

    async def _call(
        self,
        script: Script,
        model: str,
        *arguments: Any,
        behind: Sequence[tuple[Any, ...]] = (),
        blocking_s: float = 0.0,
    ) -> Any:
        keys = [self.keys.queue(model)]
        try:
            # Its connection keeps the time limit: a timer for each call would be set in vain almost each time.
            return await script(keys, [self.keys.model(model), *arguments], behind=behind, blocking_s=blocking_s)
        except REDIS_UNAVAILABLE as error:
            raise unreachable() from error


def in_batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Of what a worker holds, as much as goes into one call."""
    left = iter(items)
    while some := list(islice(left, HELD_AT_ONCE)):
        yield some
