"""Bodies that a gateway has in memory have a budget, and their arrival an end."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.gateway.raw import connected, post
from tests.gateway.scripted import chat
from tests.polling import eventually

BUDGET = 10_000


@pytest.fixture
async def small(start_gateway, settings, worker):
    """A gateway with room for ten thousand bytes of bodies, and much patience."""
    limits = {"max_body_bytes_in_memory": BUDGET, "body_memory_wait_s": 60.0}
    return await start_gateway(settings.model_copy(update=limits))


def request(worker, size=8_000):
    return post(chat(worker.card.model, padding="x" * size))


async def taken(gateway):
    return await gateway.metric("tessera_body_bytes")


async def nearly_sent(gateway, client, data):
    client.send(data[:-100])
    await eventually(lambda: is_above(gateway, 8_000 - 500), "it has arrived")


async def is_above(gateway, count):
    return await taken(gateway) > count


async def is_empty(gateway):
    return await taken(gateway) == 0


async def test_a_body_that_finds_no_room_waits_for_some(small, worker):
    data = request(worker)
    async with worker.serving(worker.echo), connected(small.port) as first, connected(small.port) as second:
        await nearly_sent(small, first, data)
        second.send(data)

        async def waiting():
            return await small.metric("tessera_bodies_waiting") == 1

        await eventually(waiting, "the second waits")
        assert await taken(small) < BUDGET
        first.send(data[-100:])
        assert (await first.answer()).status == 200
        assert (await second.answer()).status == 200
    await eventually(lambda: is_empty(small), "all is given back")


async def test_one_that_finds_none_in_time_is_refused_and_can_be_sent_again(start_gateway, settings, worker):
    limits = {"max_body_bytes_in_memory": BUDGET, "body_memory_wait_s": 0.05}
    hasty = await start_gateway(settings.model_copy(update=limits))
    labels = {"endpoint": "/v1/chat/completions", "status": "503", "code": "body_memory_full"}
    before = await hasty.metric("tessera_requests_total", **labels)
    data = request(worker)
    async with worker.serving(worker.echo), connected(hasty.port) as first:
        await nearly_sent(hasty, first, data)
        answer = await hasty.post(chat(worker.card.model, padding="x" * 8_000))
        assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (503, "body_memory_full", "2")
        assert (await hasty.post(chat(worker.card.model))).status == 200, "small ones fit beside it"
        first.send(data[-100:])
        assert (await first.answer()).status == 200
    assert await hasty.metric("tessera_requests_total", **labels) == before + 1


async def test_a_body_that_is_alone_may_be_larger(small, worker):
    async with worker.serving(worker.echo):
        assert (await small.post(chat(worker.card.model, padding="x" * 5 * BUDGET))).status == 200


async def test_a_request_that_waits_in_the_queue_takes_no_room_here(small, worker):
    async with connected(small.port) as client:
        client.send(request(worker))
        await eventually(worker.waiting, "it is queued")
        await eventually(lambda: is_empty(small), "its room is free")
        lease = await worker.take()
        assert len(lease.job.body) > 8_000
        await worker.echo(lease)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("end", ["leaves", "is no JSON", "names no model"])
async def test_room_is_free_however_a_request_ends(small, worker, end):
    data = request(worker)
    async with connected(small.port) as client:
        await nearly_sent(small, client, data)
        if end == "is no JSON":
            client.send(b"x" * 100)
            assert (await client.answer()).status == 400
    if end == "names no model":
        assert (await small.post(chat("unknown", padding="x" * 8_000))).status == 404
    await eventually(lambda: is_empty(small), "all is given back")


async def test_what_is_packed_counts_as_what_it_is(start_gateway, settings, worker):
    limits = {"max_body_bytes_in_memory": BUDGET, "max_body_bytes": 9_000, "body_memory_wait_s": 0.05}
    hasty = await start_gateway(settings.model_copy(update=limits))
    body = gzip.compress(json.dumps(chat(worker.card.model, padding="x" * 5_000)).encode())
    headers = {"Content-Encoding": "gzip"}
    async with worker.serving(worker.echo), connected(hasty.port) as other:
        assert (await hasty.post(body, headers=headers)).status == 200
        other.send(request(worker, 2_000)[:-100])
        await eventually(lambda: is_above(hasty, 1_500), "it has arrived")
        assert (await hasty.post(body, headers=headers)).error["code"] == "body_memory_full"
    await eventually(lambda: is_empty(hasty), "all is given back")


async def test_a_body_that_drips_ends(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"body_timeout_s": 0.2}))
    async with connected(gateway.port) as client:

        async def drip():
            for byte in request(worker):
                client.send(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        answer = await client.answer()
        dripping.cancel()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
