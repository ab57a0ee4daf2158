"""Fixtures of the queue's tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker, Job, Lease, new_job_id
from tessera.settings import Settings
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
def take(broker: Broker) -> Callable[..., Awaitable[list[Lease]]]:
    """Leases jobs for a worker."""

    async def lease(
        free: int = 100, *, idle: bool = True, most: int = 100, worker: str = "w", by: Broker = broker
    ) -> list[Lease]:
        return await by.lease(MODEL, worker, free=free, idle=idle, most=most)

    return lease
