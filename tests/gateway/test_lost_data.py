"""Redis loses everything, or has no room left, under load: clear errors, and nothing else is needed."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest

from tessera.queue import Broker, connect
from tests.gateway.scripted import chat
from tests.polling import eventually
from tests.queue.corner import depth_of
from tests.worker.floor import Application, Floor
from tests.worker.jobs import MODEL

SEATS = 6
# Longer than leases, and than it takes a stream to look into its log.
A_WHILE_S = 3.0


@pytest.fixture
async def place(own, start_gateway):
    """A gateway and a worker on a Redis of their own, whose leases are short."""
    short = own.model_copy(update={"lease_s": 2.0, "redis_outage_s": 30.0})
    async with AsyncExitStack() as stack:
        app = Application()
        app.first_piece = True
        Floor(short, stack).start(app, sequences=SEATS)
        gateway = await start_gateway(short)
        client = connect(short, name="test")
        stack.push_async_callback(client.aclose)
        await eventually(lambda: ready(gateway), "the worker is known")
        yield gateway, app, client, Broker(client, short)


async def ready(gateway):
    return (await gateway.get("/readyz"))[0] == 200


async def under_load(gateway, app, broker):
    """Streams that have begun, and requests that wait."""
    streams = [asyncio.create_task(gateway.post(chat(MODEL, stream=True))) for _ in range(SEATS)]
    await eventually(lambda: app.running == SEATS, "the streams run")

    async def begun():
        return await gateway.metric("tessera_time_to_first_token_seconds_count", model=MODEL) >= SEATS

    await eventually(begun, "their first pieces are out")
    waiting = [asyncio.create_task(gateway.post(chat(MODEL))) for _ in range(10)]

    async def queued():
        return (await depth_of(broker, MODEL))[0] == 10

    await eventually(queued, "the others wait")
    return streams, waiting


async def answered(gateway):
    answer = await gateway.post(chat(MODEL, stream=True))
    return answer.status == 200 and b'"error"' not in answer.body


async def test_everything_is_lost_under_load_and_works_again_by_itself(place):
    gateway, app, client, broker = place
    streams, waiting = await under_load(gateway, app, broker)
    await client.flushall()
    await client.script_flush()
    async with asyncio.timeout(15):
        for answer in await asyncio.gather(*streams):
            begun, error, done, _ = answer.body.split(b"\n\n")
            assert (begun, done) == (b"begun", b"data: [DONE]")
            assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "reply_lost"
        for answer in await asyncio.gather(*waiting):
            assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (503, "reply_lost", "1")
    await eventually(lambda: app.running == 0, "the worker has dropped what nobody waits for")
    app.go.set()
    await eventually(lambda: answered(gateway), "requests are answered again", within_s=15)
    assert all(await asyncio.gather(*(answered(gateway) for _ in range(2 * SEATS))))
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_a_redis_without_room_refuses_what_is_new_and_goes_on_with_what_runs_when_it_has_room(place):
    gateway, app, client, broker = place
    streams, waiting = await under_load(gateway, app, broker)
    await client.config_set("maxmemory", "1")
    held = await client.dbsize()
    app.go.set()
    began = time.monotonic()
    while time.monotonic() - began < A_WHILE_S:
        async with asyncio.timeout(15):
            answer = await gateway.post(chat(MODEL))
        assert (answer.status, answer.error["code"]) == (503, "queue_unavailable")
        await asyncio.sleep(0.2)
    assert await client.dbsize() <= held, "nothing was half written"
    assert not any(stream.done() for stream in streams)
    await client.config_set("maxmemory", "0")
    async with asyncio.timeout(20):
        for answer in await asyncio.gather(*streams):
            assert answer.body == b"begun\n\ndone"
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}

    async def empty():
        return await depth_of(broker, MODEL) == (0, 0)

    await eventually(empty, "nothing is left")
    assert max(app.begun.values()) == 1
    assert await answered(gateway)
