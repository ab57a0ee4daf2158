from __future__ import annotations

import pytest
import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from tessera.queue.connection import REDIS_UNAVAILABLE
from tessera.queue.scripts import Script


async def test_a_script_is_loaded_again_after_redis_forgot_it(redis_client: aioredis.Redis) -> None:
    echo = Script(redis_client, "return ARGV[1]")
    assert await echo([], ["a"]) == b"a"
    await redis_client.script_flush()
    assert await echo([], ["b"]) == b"b"


@pytest.mark.parametrize(
    "code", ["READONLY You can't write", "MISCONF Errors writing", "CLUSTERDOWN Hash slot", "OOM command not allowed"]
)
async def test_errors_that_pass_are_those_of_a_redis_that_is_away(redis_client: aioredis.Redis, code: str) -> None:
    failing = Script(redis_client, f'return redis.error_reply("{code}")')
    with pytest.raises(REDIS_UNAVAILABLE):
        await failing([])


async def test_a_mistake_in_a_script_is_not_hidden(redis_client: aioredis.Redis) -> None:
    with pytest.raises(ResponseError):
        await Script(redis_client, "return redis.call('NOSUCH')")([])
