from __future__ import annotations

import redis.asyncio as aioredis

from loadtests.depth import measure_depths, model_of
from tessera.queue import Broker
from tessera.settings import Settings
from tests.queue.corner import depth_of


async def test_each_depth_is_measured_with_as_many_jobs_waiting(
    settings: Settings, redis_client: aioredis.Redis
) -> None:
    empty, deep = await measure_depths(settings, [0, 30], pairs=20)
    assert (empty.waiting, deep.waiting) == (0, 30)
    assert len(empty.times_ms) == len(deep.times_ms) == 20
    assert 0 < empty.p50_ms <= empty.p99_ms
    assert await depth_of(Broker(redis_client, settings), model_of(30)) == (30, 0), "what was leased has ended"
