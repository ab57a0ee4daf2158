"""What the queue knows of a job that somebody asks for by its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import orjson
import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from tessera.queue import entry
from tessera.queue.connection import reach
from tessera.queue.entry import Entry
from tessera.queue.job import Named
from tessera.queue.keys import Keys
from tessera.settings import DEFAULT_TENANT, Settings

# States of jobs of which nothing further will be written.
ENDED = frozenset({b"finished", b"cancelled", b"evicted"})
_FIELDS = ("state", "meta", "attempts", "epoch", "arrived_ms", "ended_ms")


@dataclass(frozen=True, slots=True)
class Record:
    """A job, as it stands.

    Attributes:
        state: ``queued``, ``leased``, ``finished`` (answered, be it with an error), ``cancelled`` or ``evicted``.
        path: as in ``Job``, as are ``stream`` and ``tenant``.
        attempts: deliveries to workers so far.
        ahead: jobs that are before it in the queue; None where it does not wait.
        arrived_ms: when it was queued, in Unix time.
        leased_ms: when a worker last took it; None where none has.
        ended_ms: when it ended; None where it has not.
        last: the last entry of its reply; None where there is none, or none any more.
    """

    id: str
    model: str
    state: str
    path: str
    stream: bool
    attempts: int
    ahead: int | None
    arrived_ms: int
    leased_ms: int | None
    ended_ms: int | None
    last: Entry | None
    tenant: str = DEFAULT_TENANT


class Records:
    """The records of jobs in one Redis. Methods raise ``QueueUnavailable`` as those of ``Broker`` do."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        self._keys = Keys(settings.redis_prefix)

    async def find(self, models: Iterable[str], job_ids: Iterable[str]) -> Record | None:
        """The job that has one of these ids and waits, waited or runs for one of these models, and can be read."""
        places = list(product(models, job_ids))
        async with reach(self._settings):
            async with self._redis.pipeline(transaction=False) as pipe:
                for model, job_id in places:
                    pipe.hmget(self._keys.job(model, job_id), _FIELDS)
                found = await pipe.execute(raise_on_error=False)
            for (model, job_id), fields in zip(places, found, strict=True):
                # One that was cancelled before it arrived has nothing but a state, and nobody knows its id.
                if isinstance(fields, list) and fields[1] is not None:
                    with suppress(KeyError, TypeError, ValueError, ResponseError):
                        return await self._read(model, job_id, fields)
        return None

    async def ended(self, jobs: Sequence[Named]) -> list[bool]:
        """Whether each of these jobs has ended, or is not known any more."""
        async with reach(self._settings), self._redis.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hget(self._keys.job(job.model, job.id), "state")
            return [state is None or state in ENDED for state in await pipe.execute()]

    async def _read(self, model: str, job_id: str, fields: list[bytes | None]) -> Record:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrank(self._keys.queue(model), job_id)
            pipe.lindex(self._keys.log(model, job_id), -1)
            ahead, last = await pipe.execute()
        state, meta, attempts, epoch, arrived_ms, ended_ms = fields
        known = orjson.loads(meta or b"{}")
        delivered = int(attempts or 0)
        return Record(
            job_id,
            model,
            (state or b"").decode(),
            known["path"],
            known.get("stream", False),
            delivered,
            ahead,
            int(arrived_ms or 0),
            # An epoch is the time of its delivery.
            int(epoch or 0) if delivered else None,
            None if ended_ms is None else int(ended_ms),
            None if last is None else entry.decode(last),
            known.get("tenant", DEFAULT_TENANT),
        )
