"""Fixtures of the queue's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker, Job, Leases, new_job_id, replies
from tessera.settings import Settings
from tests.queue.bench import Bench, bench
from tests.queue.corner import FAR_MS, GATEWAY, MODEL
from tests.queue.redis_process import RedisProcess


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("r"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def broker(redis_client: aioredis.Redis, settings: Settings) -> Broker:
    broker = Broker(redis_client, settings)
    await redis_client.zadd(broker.keys.gateways(MODEL), {GATEWAY: FAR_MS})  # it never dies
    return broker


@pytest.fixture
def add(broker: Broker) -> Callable[..., Awaitable[Job]]:
    """Enqueues a job."""

    async def enqueue(*, sequences: int = 1, job_id: str = "", model: str = MODEL, to: Broker = broker) -> Job:
        job = Job(job_id or new_job_id(), model, "/v1/completions", b'{"x":1}', sequences)
        await to.enqueue(job, reply_to=GATEWAY)
        return job

    return enqueue


@pytest.fixture
def take(broker: Broker) -> Callable[..., Awaitable[Leases]]:
    """Leases jobs for a worker, also those of which it gets only a few in a call."""

    async def lease(
        free: int = 100, *, capacity: int = 0, most: int = 100, worker: str = "w", by: Broker = broker
    ) -> Leases:
        capacity = capacity or free
        taken = await by.lease(MODEL, worker, free=free, capacity=capacity, most=most)
        more = taken
        while more and len(taken) < most and (left := free - sum(lease.width for lease in taken)) > 0:
            room = {"free": left, "capacity": capacity, "most": most - len(taken)}
            of_batches = sum(lease.width for lease in taken if lease.job.batch)
            more = await by.lease(MODEL, worker, **room, of_batches=of_batches)
            taken += more
            taken.some_left = more.some_left
        return taken

    return lease


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Bench]:
    async with bench(settings) as made:
        await made.listening()
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "CATCH_UP_AFTER_S", 0.1)
    monkeypatch.setattr(replies, "SWEEP_EVERY_S", 0.05)
