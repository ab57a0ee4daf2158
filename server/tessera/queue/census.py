"""What there is of a model's jobs."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from tessera.queue.damage import sound
from tessera.queue.keys import Keys

# From these places in the queue on jobs are of batches, or are to run alone (`BATCH` and `SUSPECT` in lua/common.lua).
BATCH_ORDER = 2**39
SUSPECT_ORDER = 2**40

_CLOCK = "return redis.call('TIME')"


class Census(NamedTuple):
    """A model's jobs, over all gateways and workers.

    Attributes:
        waiting: but those of batches.
        queued_bytes: what the bodies of all of them take.
        reply_bytes: what their replies take, with those of jobs that have ended.
        suspects: those of the waiting that are to run alone.
        dead: set aside, and kept for the operator.
        batch_waiting: those of batches, but the suspects.
        oldest_s: since when the first of the waiting has been here, if it is of no batch.
        kept_free: workers that take nothing until a job fits that was passed for long enough (0 or 1).
        counts: what all processes count together.
    """

    waiting: int
    running: int
    queued_bytes: int
    reply_bytes: int
    suspects: int
    dead: int
    batch_waiting: int
    oldest_s: float
    kept_free: int
    counts: dict[str, int]


async def take_census(redis: aioredis.Redis, keys: Keys, model: str) -> Census:
    """Ask Redis; raises redis-py's errors."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zcard(keys.queue(model))
        pipe.zcount(keys.queue(model), BATCH_ORDER, f"({SUSPECT_ORDER}")
        pipe.zcard(keys.leases(model))
        pipe.hget(keys.bodies(model), keys.SUM)
        pipe.hget(keys.replies(model), keys.SUM)
        pipe.zcount(keys.queue(model), SUSPECT_ORDER, "+inf")
        pipe.zcard(keys.dead(model))
        pipe.exists(keys.reserved(model))
        pipe.hgetall(keys.counts(model))
        pipe.zrange(keys.queue(model), 0, 0, withscores=True)
        found = [sound(answer) for answer in await pipe.execute(raise_on_error=False)]
    *numbers, counts, first = found
    told = {name.decode(errors="replace"): number_of(count) for name, count in (counts or {}).items()}
    in_all, of_batches, running, queued_bytes, reply_bytes, suspects, dead, kept_free = map(number_of, numbers)
    oldest_s = 0.0
    if first and first[0][1] % SUSPECT_ORDER < BATCH_ORDER:
        oldest_s = await _age_s(redis, keys.job(model, first[0][0].decode(errors="replace")))
    held = (running, queued_bytes, reply_bytes, suspects, dead, of_batches)
    return Census(in_all - of_batches, *held, oldest_s, kept_free, told)


def number_of(stored: Any) -> int:
    """A number in Redis; 0 where there is none, or something else."""
    try:
        return int(stored or 0)
    except ValueError:
        return 0


async def _age_s(redis: aioredis.Redis, job: str) -> float:
    """How long ago a job came, by Redis' clock; 0 where it has gone meanwhile."""
    try:
        arrived_ms = number_of(await redis.hget(job, "arrived_ms"))
    except ResponseError as error:
        arrived_ms = number_of(sound(error))
    if not 0 < arrived_ms < 2**53:
        return 0.0
    # Not by TIME itself: of a Cluster, it is the clock of the node that has the job which counts.
    seconds, microseconds = map(int, await redis.eval(_CLOCK, 1, job))
    return max(0.0, seconds + microseconds / 1e6 - arrived_ms / 1e3)
