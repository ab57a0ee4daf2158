"""The model, the settings and the entries that the queue's tests work with."""

from __future__ import annotations

import redis.asyncio as aioredis

from tessera.queue import Append, Broker, Entry, Head, Job, Lease, Place, new_job_id
from tessera.queue.entry import decode
from tessera.settings import Settings

# A name that needs every quoting there is.
MODEL = "org/some model: ü{x}"
GATEWAY = "g"
FAR_MS = 2**52
HEAD = Head(200, "text/event-stream").encode()


def with_other(settings: Settings, **changes: object) -> Settings:
    """The same corner of the Redis under other settings."""
    return settings.model_copy(update=changes)


def entries_of(lease: Lease, offset: int, *entries: bytes, final: bool = False) -> Append:
    return Append(lease.job.id, lease.epoch, offset, entries, final)


async def add_of_batch(broker: Broker, *, sequences: int = 1, body: bytes = b"{}") -> Job:
    job = Job(new_job_id(), MODEL, "/v1/completions", body, sequences, batch=True)
    await broker.enqueue(job, reply_to=GATEWAY, lasting=True)
    return job


async def depth_of(broker: Broker, model: str = MODEL) -> tuple[int, int]:
    """Jobs waiting and jobs running."""
    census = await broker.census(model)
    return census.waiting, census.running


async def log_of(broker: Broker, job: Job, model: str = MODEL) -> list[Entry]:
    [part] = await broker.read([Place(model, job.id)])
    return [decode(raw) for raw in part.entries]


async def state_of(redis: aioredis.Redis, broker: Broker, job: Job) -> str | None:
    state = await redis.hget(broker.keys.job(MODEL, job.id), "state")
    return None if state is None else state.decode()


async def lapse(redis: aioredis.Redis, broker: Broker) -> None:
    """Let all leases run out now."""
    await redis.delete(broker.keys.watch(MODEL))  # however long it took to get here: no outage
    key = broker.keys.leases(MODEL)
    for job_id in await redis.zrange(key, 0, -1):
        await redis.zadd(key, {job_id: 1})


async def overdue(redis: aioredis.Redis, broker: Broker, job: Job) -> None:
    await redis.delete(broker.keys.watch(MODEL))
    await redis.hset(broker.keys.job(MODEL, job.id), "deadline_ms", 1)
