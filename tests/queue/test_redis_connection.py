"""One connection for many commands: answers in order, and an end when something is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis
import uvloop
from redis.exceptions import ResponseError

from tessera.queue import connect, listen
from tessera.queue.connection import MOST_CONNECTIONS, REDIS_UNAVAILABLE
from tessera.redis_connection import COPIED_BYTES
from tessera.redis_direct import Direct
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.redis_process import RedisProcess
from tests.queue.topologies import HOST, Authority, Server

LIMIT_S = 1.0


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[aioredis.Redis]:
    client = connect(Settings(redis_url=url, redis_timeout_s=LIMIT_S), name="pipelined", **options)
    try:
        yield client
    finally:
        await client.aclose()


async def echo_many(direct: Direct, number: int = 300) -> None:
    """Short and long ones, all at once; each has to have its own answer."""
    words = [b"%d" % n + b"x" * (n % 7 * COPIED_BYTES // 3) for n in range(number)]
    assert await asyncio.gather(*(direct.command("ECHO", word) for word in words)) == words


async def test_all_that_is_asked_at_once_goes_over_one_connection(redis_client: aioredis.Redis) -> None:
    direct = Direct(redis_client)
    before = len(await redis_client.client_list())
    await echo_many(direct)
    assert len(await redis_client.client_list()) <= before + 1


async def test_what_was_given_up_leaves_the_connection_to_others(redis_client: aioredis.Redis) -> None:
    direct = Direct(redis_client)
    connection = await direct.command("CLIENT", "ID")
    for turn in range(50):
        asked = [asyncio.create_task(direct.command("ECHO", f"{turn} {n}")) for n in range(5)]
        await asyncio.sleep(0)
        for task in asked[turn % 2 :: 2]:
            task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for n, (task, answer) in enumerate(zip(asked, answers, strict=True)):
            assert task.cancelled() or answer == f"{turn} {n}".encode()
    assert await direct.command("CLIENT", "ID") == connection


async def test_a_server_that_is_a_replica_now_is_left(own_redis: RedisProcess) -> None:
    async with client_of(own_redis.url) as client:
        direct = Direct(client)
        before = await direct.command("CLIENT", "ID")
        await client.replicaof("127.0.0.1", 1)
        for write in (("SET", "key", "value"), ("EVAL", "return redis.call('SET', KEYS[1], 'value')", 1, "key")):
            with pytest.raises(ResponseError):
                await direct.command(*write)
            after = await direct.command("CLIENT", "ID")
            assert after != before
            before = after


async def test_one_that_blocks_holds_nobody_up_and_ends_when_it_is_cancelled(redis_client: aioredis.Redis) -> None:
    direct = Direct(redis_client)
    waiting = [asyncio.create_task(direct.command("BLPOP", "list", 30, blocking_s=30)) for _ in range(3)]

    async def blocked(number: int) -> bool:
        return int((await redis_client.info("clients"))["blocked_clients"]) == number

    await eventually(lambda: blocked(3), "all of them wait")
    await echo_many(direct)
    for task in waiting[:2]:
        task.cancel()
    await eventually(lambda: blocked(1), "Redis gives them up")
    await redis_client.rpush("list", "a")
    assert await waiting[2] == [b"list", b"a"]
    assert await direct.command("BLPOP", "list", 0.01, blocking_s=0.01) is None


async def test_one_that_blocks_may_take_longer_than_others(own_redis: RedisProcess) -> None:
    async with client_of(own_redis.url) as client:
        direct = Direct(client)
        assert await direct.command("BLPOP", "nothing", 1.5 * LIMIT_S, blocking_s=1.5 * LIMIT_S) is None


async def test_silence_ends_the_connection_for_all_that_wait(own_redis: RedisProcess) -> None:
    async with client_of(own_redis.url) as client:
        direct = Direct(client)
        connection = await direct.command("CLIENT", "ID")
        own_redis.pause()
        asked = [asyncio.create_task(direct.command("ECHO", str(n))) for n in range(20)]
        asked[7].cancel()
        done, _ = await asyncio.wait(asked, timeout=10)
        assert done == set(asked)
        assert all(task.cancelled() or isinstance(task.exception(), REDIS_UNAVAILABLE) for task in asked)
        own_redis.resume()
        assert await direct.command("CLIENT", "ID") != connection
        await echo_many(direct, 40)


async def test_a_slow_answer_in_time_is_no_silence(own_redis: RedisProcess) -> None:
    async with client_of(own_redis.url) as client:
        direct = Direct(client)
        for _ in range(4):  # together longer than the limit
            own_redis.pause()
            asked = asyncio.create_task(direct.command("ECHO", "a"))
            await asyncio.sleep(LIMIT_S / 3)
            own_redis.resume()
            assert await asked == b"a"


async def test_what_redis_does_not_read_stays_with_those_who_send_it(own_redis: RedisProcess) -> None:
    async with client_of(own_redis.url) as client:
        direct = Direct(client, 10.0)
        large = b"x" * (4 << 20)
        assert await direct.command("ECHO", b"a") == b"a"
        assert direct._shared is not None
        own_redis.pause()
        asked = [asyncio.create_task(direct.command("ECHO", large)) for _ in range(20)]
        await asyncio.sleep(0.2)
        own_redis.resume()
        while not all(task.done() for task in asked):
            assert direct._shared._transport.get_write_buffer_size() <= len(large) + 1024
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [large] * len(asked)


async def test_however_often_redis_ends_no_connection_of_the_pool_is_lost(own_redis: RedisProcess) -> None:
    async with client_of(own_redis.url) as client:
        direct = Direct(client)
        for turn in range(MOST_CONNECTIONS + 1):
            asked = [
                asyncio.create_task(direct.command("BLPOP", "nothing", 5, blocking_s=5)),
                asyncio.create_task(direct.command("ECHO", "a")),
            ]
            await asked[1]
            await client.client_kill_filter(_type="normal", skipme=False)
            asked[0].cancel()
            await asyncio.wait(asked)
            assert await direct.command("ECHO", f"{turn}") == f"{turn}".encode()
        assert len(await client.client_list()) <= 4


@pytest.mark.parametrize("said", [b"!garbage\r\n", b":1\r\n:2\r\n:3\r\n", b"", b"$7\r\nshort"])
async def test_whatever_is_no_redis_ends_in_an_error(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            # It shakes hands as Redis does.
            writer.write(b"+OK\r\n" * data.count(b"CLIENT") if b"ECHO" not in data else said)
            if not said:
                break
        writer.close()

    server = await asyncio.start_server(answer, HOST)
    port = server.sockets[0].getsockname()[1]
    async with client_of(f"redis://{HOST}:{port}") as client:
        direct = Direct(client)
        async with asyncio.timeout(10):
            for _ in range(3):
                answers = await asyncio.gather(*(direct.command("ECHO", "a") for _ in range(2)), return_exceptions=True)
                assert all(each in (1, 2) or isinstance(each, REDIS_UNAVAILABLE) for each in answers)
    server.close()


def test_it_works_on_the_gateways_event_loop_and_with_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "own")
    certificate, key = authority.issue("redis")
    tls = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority.certificate)
    server = Server(tmp_path, "--port", 0, *tls, "--tls-auth-clients", "no", "--save", "")
    settings = Settings(redis_url=f"rediss://{HOST}:{server.port}", redis_ca_file=authority.certificate)

    async def use() -> None:
        client = connect(settings, name="pipelined")
        direct = Direct(client)

        async def answers() -> bool:
            with suppress(*REDIS_UNAVAILABLE):
                return bool(await direct.command("PING"))
            return False

        await eventually(answers, "Redis answers")
        await echo_many(direct, 40)
        connection = await direct.command("CLIENT", "ID")
        await client.client_kill_filter(_id=str(connection))
        await echo_many(direct, 40)
        given_up = asyncio.create_task(direct.command("BLPOP", "nothing", 5, blocking_s=5))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.wait([given_up])
        await echo_many(direct, 40)
        heard: list[bytes] = []
        listening = asyncio.create_task(listen(client, "channel", heard.append, partial(asyncio.sleep, 0)))
        large = b"x" * (1 << 20)

        async def comes() -> bool:
            before = len(heard)
            await client.publish("channel", large)
            await asyncio.sleep(0.05)
            return heard[before:] == [large]

        await eventually(comes, "messages come")
        await client.client_kill_filter(_type="pubsub")
        await eventually(comes, "messages come again")
        listening.cancel()
        await asyncio.wait([listening])
        assert len(await client.client_list()) <= 3
        await client.aclose()

    server.start("--tls-port", server.port)
    try:
        for run in (asyncio.run, uvloop.run):
            run(use())
    finally:
        server.kill()
