from __future__ import annotations

import asyncio

import aiohttp
import pytest
from fastapi import FastAPI

from tessera.gateway.server import GatewayServer
from tessera.queue import Data, End
from tests.gateway.scripted import STREAM, chat, event
from tests.polling import eventually


async def begin(gateway, worker):
    """A stream that has begun."""
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))

    async def begun():
        return await gateway.metric("tessera_time_to_first_token_seconds_count", model=worker.card.model) == 1

    await eventually(begun, "the stream has begun")
    return asked, lease


async def test_a_shutdown_lets_streams_end(gateway, worker):
    asked, lease = await begin(gateway, worker)
    stopping = asyncio.create_task(gateway.stop())
    await eventually(lambda: not gateway.listening(), "no new connection is taken")
    await worker.say(lease, event("two"), Data(b"data: [DONE]\n\n"), End())
    assert (await asked).body == event("one").body + event("two").body + b"data: [DONE]\n\n"
    await stopping


async def test_a_shutdown_does_not_wait_for_ever_and_leaves_no_job(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"drain_timeout_s": 1.0}))
    asked, lease = await begin(gateway, worker)
    async with asyncio.timeout(20):
        await gateway.stop()
    assert await worker.cancelled(lease.job.id)
    with pytest.raises(aiohttp.ClientPayloadError):  # not an answer that looks complete
        await asked


def test_the_address_comes_from_the_settings(settings):
    config = GatewayServer(FastAPI(), settings.model_copy(update={"host": "127.0.0.9", "port": 1234})).config
    assert (config.host, config.port) == ("127.0.0.9", 1234)
