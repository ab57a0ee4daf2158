"""A Redis that cannot be used as it is set up is named, and one that heals is used again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis.asyncio as aioredis

from tessera.gateway import redis_watch
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.redis_process import RedisProcess


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisProcess]:
    monkeypatch.setattr(redis_watch, "PERIOD_S", 0.05)
    process = RedisProcess(tmp_path_factory.mktemp("r"))
    process.start()
    yield process
    process.kill()


async def test_a_policy_that_throws_requests_away(start_gateway, own_redis: RedisProcess):
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=1, media_sandbox="off")
    async with aioredis.Redis(unix_socket_path=str(own_redis.socket)) as redis:
        await redis.config_set("maxmemory", "1gb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        gateway = await start_gateway(settings)

        async def told() -> str:
            return str((await gateway.get("/readyz"))[1]["redis"])

        async def unfit() -> bool:
            return "allkeys-lru" in await told()

        await eventually(unfit, "the gateway says what is wrong")
        assert (await gateway.get("/readyz"))[0] == 503
        assert await told() == (
            "its maxmemory-policy is allkeys-lru, so that it throws requests away when it is full: set noeviction"
        )
        assert await gateway.metric("tessera_redis_up", redis="queue") == 0
        await redis.config_set("maxmemory-policy", "noeviction")

        async def fit() -> bool:
            return await told() == "ok"

        await eventually(fit, "it heals")
        assert await gateway.metric("tessera_redis_up", redis="queue") == 1
        assert await gateway.metric("tessera_redis_max_memory_bytes", redis="queue") == 1024**3
        assert await gateway.metric("tessera_redis_memory_bytes", redis="queue") > 0
        assert await gateway.metric("tessera_redis_ping_seconds", redis="queue") > 0


async def test_a_replica_for_media(start_gateway, own_redis: RedisProcess, settings: Settings):
    async with aioredis.Redis(unix_socket_path=str(own_redis.socket)) as redis:
        await redis.replicaof("127.0.0.1", "1")
    gateway = await start_gateway(
        Settings(**settings.model_dump(exclude_unset=True) | {"media_redis_url": own_redis.url})
    )

    async def named() -> bool:
        return "replica" in (await gateway.get("/readyz"))[1].get("media_redis", "")

    await eventually(named, "the gateway says what is wrong")
    assert (await gateway.get("/readyz"))[1]["redis"] == "ok"


async def test_one_that_is_gone_has_no_values(start_gateway, own_redis: RedisProcess):
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=0.5, media_sandbox="off")
    gateway = await start_gateway(settings)

    async def up(expected: float) -> bool:
        return await gateway.metric("tessera_redis_up", redis="queue") == expected

    await eventually(lambda: up(1), "it is there")
    own_redis.kill()
    await eventually(lambda: up(0), "it is gone")
    assert 'tessera_redis_memory_bytes{redis="queue"}' not in await gateway.metrics()
    assert await gateway.metric("tessera_build_info") == 1
