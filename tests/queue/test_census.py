from __future__ import annotations

from collections.abc import Awaitable, Callable

import redis.asyncio as aioredis

from tessera.queue import Broker, Job, Lease
from tests.queue.corner import MODEL

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[list[Lease]]]


async def test_the_age_of_the_job_that_is_next(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    assert (await broker.census(MODEL)).oldest_s == 0
    first = await add()
    await add()
    key = broker.keys.job(MODEL, first.id)
    arrived_ms = int(await redis_client.hget(key, "arrived_ms"))
    await redis_client.hset(key, "arrived_ms", arrived_ms - 60_000)
    assert 60 <= (await broker.census(MODEL)).oldest_s < 90
    await take(1)
    assert (await broker.census(MODEL)).oldest_s < 30, "of those that wait"


async def test_a_job_without_a_time_has_no_age(broker: Broker, redis_client: aioredis.Redis, add: Add) -> None:
    job = await add()
    key = broker.keys.job(MODEL, job.id)
    for damage in ("soon", "-1", "9" * 400):
        await redis_client.hset(key, "arrived_ms", damage)
        assert (await broker.census(MODEL)).oldest_s == 0
    await redis_client.delete(key)
    assert (await broker.census(MODEL)).oldest_s == 0
