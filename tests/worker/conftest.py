"""Fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker
from tessera.settings import Settings
from tests.queue.redis_process import RedisProcess
from tests.worker.floor import Floor
from tests.worker.jobs import GATEWAY, keep_alive


@pytest.fixture
async def broker(redis_client: aioredis.Redis, settings: Settings) -> Broker:
    broker = Broker(redis_client, settings)
    await keep_alive(broker, GATEWAY)
    return broker


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("r"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def floor(settings: Settings) -> AsyncIterator[Floor]:
    async with AsyncExitStack() as stack:
        yield Floor(settings, stack)
