"""Jobs, their leases and their logs, as the worker's tests need them."""

from __future__ import annotations

from typing import Any

import orjson

from tessera.queue import Broker, Data, End, Failure, Job, Lease, Place, new_job_id
from tessera.queue.entry import Entry, decode

MODEL = "m"
GATEWAY = "g"
FAR_MS = 2**52


def new_job(body: Any = None, *, sequences: int = 1, **options: bool) -> Job:
    return Job(new_job_id(), MODEL, "/v1/completions", orjson.dumps(body or {}), sequences, **options)


async def enqueue(broker: Broker, **options: Any) -> Job:
    job = new_job(**options)
    await broker.enqueue(job, reply_to=GATEWAY)
    return job


async def keep_alive(broker: Broker, gateway_id: str) -> None:
    """The gateway never dies."""
    await broker._redis.zadd(broker.keys.gateways(MODEL), {gateway_id: FAR_MS})


async def lapse(broker: Broker, job: Job) -> None:
    """Let a job's lease run out, and have somebody notice."""
    before = await requeued(broker)
    await broker._redis.delete(broker.keys.watch(MODEL))  # however long it took to get here: no outage
    await broker._redis.zadd(broker.keys.leases(MODEL), {job.id: 1})
    await broker.reap(MODEL)
    # Workers look as well, and may have been first.
    assert await requeued(broker) == before + 1


async def requeued(broker: Broker) -> int:
    """Jobs that were taken from silent workers so far, by whoever noticed."""
    return (await broker.census(MODEL)).counts.get("reaped:requeued", 0)


async def leased(broker: Broker, **options: Any) -> Lease:
    await enqueue(broker, **options)
    [lease] = await broker.lease(MODEL, "w", free=100, capacity=100, most=1)
    return lease


async def log_of(broker: Broker, job: Job) -> list[Entry]:
    [part] = await broker.read([Place(MODEL, job.id)])
    return [decode(raw) for raw in part.entries]


async def answered(broker: Broker, job: Job) -> bool:
    log = await log_of(broker, job)
    return bool(log) and isinstance(log[-1], End | Failure)


async def text_of(broker: Broker, job: Job) -> bytes:
    return b"".join(e.body for e in await log_of(broker, job) if isinstance(e, Data))
