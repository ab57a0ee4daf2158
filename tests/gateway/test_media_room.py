"""More media than the store, or the gateway, has room for: what requests see of it is that some wait a little."""

from __future__ import annotations

import asyncio
import base64
import io

import pytest
from PIL import Image

from tessera.media import RedisMediaStore, digest_of
from tests.gateway.scripted import chat, sent
from tests.polling import eventually

MIB = 1 << 20
PHOTOGRAPHS = 40
# Twelve megapixels are 36 MB; scaled down, so that eight fill the store as twenty-nine would fill one of a gigabyte.
ROOM = 8 * MIB
SIDE = 580


def photograph(number: int) -> dict[str, object]:
    """A part with a picture of its own, of almost a mebibyte."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (number, 255 - number, 7)).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"media_store_max_bytes": ROOM, "media_store_wait_s": 60})


@pytest.fixture
def store(redis_client, settings):
    return RedisMediaStore(redis_client, settings)


@pytest.fixture
def look(store):
    """What a worker does: it reads the pixels, and then answers. Raises if they are gone."""

    def answer_with(worker):
        async def answer(lease):
            [part] = sent(lease)["messages"][0]["content"]
            payload = await store.get(digest_of(part["image_url"]["url"]))
            assert payload is not None, "a request's media has gone before it ran"
            await worker.echo(lease)

        return answer

    return answer_with


@pytest.fixture
def held(redis_client, settings):
    """Conditions on the number of items that requests hold."""

    def where(expected):
        async def holds():
            return expected(await redis_client.zcard(f"{settings.redis_prefix}:{{media}}:holds"))

        return holds

    return where


async def test_photographs_one_after_the_other_never_fill_the_store(gateway, worker, look, held):
    async with worker.serving(look(worker)):
        for number in range(PHOTOGRAPHS):
            answer = await gateway.post(chat(worker.card.model, photograph(number)))
            assert answer.status == 200, answer.body
    await eventually(held(lambda count: count == 0), "nothing is held")


async def test_photographs_at_once_wait_for_each_other(gateway, worker, look, held):
    waits = await gateway.metric("tessera_media_store_wait_seconds_count")
    async with worker.serving(look(worker)):
        requests = (gateway.post(chat(worker.card.model, photograph(number))) for number in range(PHOTOGRAPHS))
        answers = await asyncio.gather(*requests)
    assert [answer.status for answer in answers] == [200] * PHOTOGRAPHS
    await eventually(held(lambda count: count == 0), "nothing is held")
    assert await gateway.metric("tessera_media_store_wait_seconds_count") > waits
    assert await gateway.metric("tessera_media_store_waiting") == 0


async def test_what_a_waiting_request_needs_stays_however_much_comes_after_it(gateway, worker, look, store):
    first = asyncio.create_task(gateway.post(chat(worker.card.model, photograph(200))))
    lease = await worker.take()
    async with worker.serving(look(worker)):
        for number in range(2 * ROOM // MIB):
            assert (await gateway.post(chat(worker.card.model, photograph(number)))).status == 200
    await look(worker)(lease)
    assert (await first).status == 200


async def test_a_store_that_is_all_in_use_is_said_to_be_after_a_bounded_wait(start_gateway, worker, settings, held):
    gateway = await start_gateway(settings.model_copy(update={"media_store_wait_s": 0.1}))
    full = ROOM // MIB
    waiting = [asyncio.create_task(gateway.post(chat(worker.card.model, photograph(n)))) for n in range(full)]
    leases = [await worker.take() for _ in range(full)]
    answer = await gateway.post(chat(worker.card.model, photograph(full)))
    assert (answer.status, answer.error["code"]) == (503, "media_store_full")
    assert answer.error["param"] == "messages[0].content[0]"
    assert 1 <= int(answer.headers["Retry-After"]) <= 10
    # Whoever leaves makes room, also one that did not wait for its answer.
    waiting.pop().cancel()
    await eventually(held(lambda count: count < full), "the client that left holds nothing")
    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(worker.card.model, photograph(full)))).status == 200
        for lease in leases:
            await worker.echo(lease)
    assert all([(await request).status == 200 for request in waiting])


async def test_photographs_at_once_wait_for_the_memory_of_the_gateway(start_gateway, worker, settings, look):
    gateway = await start_gateway(settings.model_copy(update={"max_media_bytes_in_memory": 24 * MIB}))
    waits = await gateway.metric("tessera_media_memory_wait_seconds_count", use="decoding_small")
    async with worker.serving(look(worker)):
        requests = (gateway.post(chat(worker.card.model, photograph(number))) for number in range(PHOTOGRAPHS))
        answers = await asyncio.gather(*requests)
    assert [answer.status for answer in answers] == [200] * PHOTOGRAPHS
    assert await gateway.metric("tessera_media_memory_wait_seconds_count", use="decoding_small") > waits
    for use in ("encoded", "decoding", "decoding_small"):
        assert await gateway.metric("tessera_media_memory_bytes", use=use) == 0
        assert await gateway.metric("tessera_media_memory_waiting", use=use) == 0


async def test_a_request_that_finds_no_memory_is_told_to_come_again(start_gateway, worker, settings):
    gateway = await start_gateway(
        settings.model_copy(update={"max_media_bytes_in_memory": 24 * MIB, "media_memory_wait_s": 0.1})
    )
    memory = gateway.app.state.services.stage.memory
    async with memory.decoding(3 * MIB):
        answer = await gateway.post(chat(worker.card.model, photograph(1)))
    assert (answer.status, answer.error["code"]) == (429, "media_memory_full")
    assert answer.error["type"] == "rate_limit_error"
    assert answer.error["param"] == "messages[0].content[0]"
    assert answer.headers["Retry-After"] == "5"
    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(worker.card.model, photograph(1)))).status == 200
