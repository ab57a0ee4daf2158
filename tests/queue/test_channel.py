from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from tessera.errors import QueueUnavailable
from tessera.queue import channel, connect, listen
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import with_other
from tests.queue.redis_process import RedisProcess


class Listener:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.subscribed = 0
        self.on_message: Callable[[bytes], None] = self.messages.append
        self.refuse = 0

    async def on_subscribed(self) -> None:
        self.subscribed += 1
        if self.subscribed <= self.refuse:
            raise QueueUnavailable("could not catch up")


@asynccontextmanager
async def listening(settings: Settings, listener: Listener) -> AsyncIterator[asyncio.Task[None]]:
    client = connect(settings, name="listener")
    task = asyncio.create_task(listen(client, "channel", lambda m: listener.on_message(m), listener.on_subscribed))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.aclose()


async def test_an_idle_subscription_stays(
    settings: Settings, redis_client: aioredis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence for longer than the time limit of a command, and than a heartbeat, is no reason to connect again."""
    monkeypatch.setattr(channel, "HEARTBEAT_S", 0.5)
    listener = Listener()
    async with listening(with_other(settings, redis_timeout_s=0.05), listener):
        await eventually(lambda: listener.subscribed == 1, "subscribed")
        [mine] = [c for c in await redis_client.client_list() if c["name"] == "tessera-listener"]

        async def last_sent(command: str) -> bool:
            [now] = [c for c in await redis_client.client_list() if c["name"] == "tessera-listener"]
            assert now["id"] == mine["id"]
            return bool(now["cmd"] == command)

        await eventually(lambda: last_sent("ping"), "asked for a sign of life")
        for _ in range(20):
            await redis_client.publish("channel", "x")
            await asyncio.sleep(0.05)
        assert listener.subscribed == 1
        await eventually(lambda: len(listener.messages) == 20, "all messages came")


async def test_a_host_that_vanished_is_noticed(own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "HEARTBEAT_S", 0.1)
    listener = Listener()
    async with listening(Settings(redis_url=own_redis.url, redis_timeout_s=0.2), listener):
        await eventually(lambda: listener.subscribed == 1, "subscribed")
        own_redis.pause()
        await asyncio.sleep(0)
        # A Redis that is stopped accepts connections and says nothing, so that it is asked again and again.
        with capture_logs() as logs:
            await eventually(lambda: bool(logs), "the silence was noticed")
        assert [line["event"] for line in logs] == ["channel_lost"]
        own_redis.resume()
        await eventually(lambda: listener.subscribed >= 2, "subscribed again")


async def test_it_subscribes_again_after_a_restart(own_redis: RedisProcess) -> None:
    settings = Settings(redis_url=own_redis.url)
    listener = Listener()
    async with listening(settings, listener):
        await eventually(lambda: listener.subscribed == 1, "subscribed")
        own_redis.kill()
        own_redis.start()
        await eventually(lambda: listener.subscribed == 2, "subscribed again")
        client = connect(settings, name="other")
        await client.publish("channel", "after")
        await eventually(lambda: listener.messages == [b"after"], "the message came")
        await client.aclose()


@pytest.mark.parametrize("error", [ValueError("unexpected"), QueueUnavailable("down")])
async def test_an_error_in_a_callback_is_survived(
    settings: Settings, redis_client: aioredis.Redis, error: Exception
) -> None:
    listener = Listener()

    def fail(message: bytes) -> None:
        listener.on_message = listener.messages.append
        raise error

    listener.on_message = fail
    async with listening(settings, listener) as task:
        await eventually(lambda: listener.subscribed == 1, "subscribed")
        await redis_client.publish("channel", "fails")
        await eventually(lambda: listener.subscribed == 2, "subscribed again")
        await redis_client.publish("channel", "arrives")
        await eventually(lambda: listener.messages == [b"arrives"], "the message came")
        assert not task.done()


async def test_no_message_before_catching_up_has_succeeded(settings: Settings, redis_client: aioredis.Redis) -> None:
    listener = Listener()
    listener.refuse = 2
    async with listening(settings, listener):
        await eventually(lambda: listener.subscribed == 3, "it tried until it could")
        await redis_client.publish("channel", "x")
        await eventually(lambda: listener.messages == [b"x"], "the message came")


async def test_what_comes_with_the_subscription_waits_until_it_has_caught_up() -> None:
    """As where the channel is busy: Redis' confirmation and messages arrive in one piece."""
    listener = Listener()
    seen_while_catching_up: list[bytes] = []

    async def catch_up() -> None:
        listener.subscribed += 1
        await asyncio.sleep(0.1)
        seen_while_catching_up.extend(listener.messages)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if b"SUBSCRIBE" in data:
                messages = b"".join(b"*3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$1\r\n%d\r\n" % n for n in range(5))
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n" + messages)
            else:
                writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    client = connect(Settings(redis_url=f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"), name="listener")
    task = asyncio.create_task(listen(client, "channel", listener.messages.append, catch_up))
    await eventually(lambda: listener.messages == [b"0", b"1", b"2", b"3", b"4"], "the messages came")
    assert (listener.subscribed, seen_while_catching_up) == (1, [])
    task.cancel()
    await asyncio.wait([task])
    await client.aclose()
    server.close()


async def test_it_leaves_no_connection_behind(settings: Settings, redis_client: aioredis.Redis) -> None:
    listener = Listener()
    async with listening(settings, listener):
        await eventually(lambda: listener.subscribed == 1, "subscribed")
        for turn in range(5):
            await redis_client.client_kill_filter(_type="pubsub")
            await eventually(lambda turn=turn: listener.subscribed == turn + 2, "subscribed again")  # type: ignore[misc]
        mine = [c for c in await redis_client.client_list() if c["name"] == "tessera-listener"]
        assert len(mine) == 1

    async def gone() -> bool:
        return not [c for c in await redis_client.client_list() if c["name"] == "tessera-listener"]

    await eventually(gone, "the connection is closed")
