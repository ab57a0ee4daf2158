from __future__ import annotations

import asyncio

import redis.asyncio as aioredis

from tessera.queue import connect
from tessera.settings import Settings


async def test_a_cancellation_is_never_swallowed(settings: Settings) -> None:
    """Whatever a command is doing when it is cancelled: connecting, shaking hands, sending, or reading."""
    for turns in range(60):
        client = connect(settings, name="cancelled")
        task = asyncio.create_task(_ping_and_wait(client))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        assert await client.ping()
        await client.aclose()


async def _ping_and_wait(client: aioredis.Redis) -> None:
    await client.ping()
    await asyncio.Event().wait()


async def test_a_connection_says_who_it_is(settings: Settings) -> None:
    client = connect(settings, name="somebody")
    name = await client.client_getname()
    assert name == "tessera-somebody"
    await client.aclose()


async def test_a_connection_is_made_without_a_look_at_the_files_of_packages(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", None)
    client = connect(settings, name="quick")
    assert await client.ping()
    await client.aclose()
