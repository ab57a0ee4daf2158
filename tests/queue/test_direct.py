"""Commands past redis-py's client: each gets its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from tessera.queue import connect
from tessera.queue.connection import REDIS_UNAVAILABLE
from tessera.redis_connection import COPIED_BYTES
from tessera.redis_direct import Direct
from tessera.settings import Settings
from tests.queue.redis_process import RedisProcess


async def test_one_connection_is_kept_and_what_blocks_has_another(redis_client: aioredis.Redis) -> None:
    direct = Direct(redis_client)
    first = await direct.command("CLIENT", "ID")
    assert await direct.command("CLIENT", "ID") == first
    slow = asyncio.create_task(direct.command("BLPOP", "nothing", 3, blocking_s=3))
    await asyncio.sleep(0)
    words = [str(n).encode() for n in range(20)]
    assert await asyncio.gather(*(direct.command("ECHO", word) for word in words)) == words
    assert not slow.done()
    assert await slow is None
    assert await direct.command("CLIENT", "ID") == first


async def test_parts_of_all_kinds_and_lengths_arrive(redis_client: aioredis.Redis) -> None:
    direct = Direct(redis_client)
    for part in (b"", b"\r\n", "ü{x}", 7, 0.5, b"x" * (COPIED_BYTES + 1), "x" * (COPIED_BYTES + 1)):
        expected = part if isinstance(part, bytes) else str(part).encode()
        assert await direct.command("ECHO", part) == expected


async def test_what_was_given_up_is_no_answer_to_what_comes_next(settings: Settings) -> None:
    """Whatever a command is doing when it is cancelled: connecting, shaking hands, sending, or reading."""
    client = connect(settings, name="cancelled")
    direct = Direct(client)
    for turns in range(40):
        task = asyncio.create_task(direct.command("ECHO", f"given up {turns}"))
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert await direct.command("ECHO", f"next {turns}") == f"next {turns}".encode()
        if turns == 20:
            await client.connection_pool.disconnect()
    await client.aclose()


async def test_an_error_is_the_answer_of_one_command(redis_client: aioredis.Redis) -> None:
    direct = Direct(redis_client)
    kept = await direct.command("CLIENT", "ID")
    with pytest.raises(ResponseError):
        await direct.command("NOSUCH")
    assert await direct.command("CLIENT", "ID") == kept


async def test_it_survives_a_redis_that_is_started_again(own_redis: RedisProcess) -> None:
    client = connect(Settings(redis_url=own_redis.url), name="direct")
    direct = Direct(client)
    assert await direct.command("ECHO", "a") == b"a"
    own_redis.kill()
    with pytest.raises(REDIS_UNAVAILABLE):
        await direct.command("ECHO", "b")
    own_redis.start()
    assert await direct.command("ECHO", "c") == b"c"
    own_redis.kill()
    own_redis.start()
    assert await direct.command("ECHO", "d") == b"d", "the connection that was kept is dead, and it tries another one"
    await client.aclose()


async def test_a_redis_that_does_not_answer_is_given_up_in_time(own_redis: RedisProcess) -> None:
    client = connect(Settings(redis_url=own_redis.url, redis_timeout_s=0.3), name="direct")
    direct = Direct(client)
    assert await direct.command("ECHO", "a") == b"a"
    own_redis.pause()
    with pytest.raises(REDIS_UNAVAILABLE):
        await asyncio.wait_for(direct.command("ECHO", "b"), 5)
    own_redis.resume()
    assert await direct.command("ECHO", "c") == b"c"
    await client.aclose()
