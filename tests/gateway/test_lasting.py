"""Requests that go on when their client, or their gateway, is gone."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from tessera.gateway import unattended
from tessera.local.samples import image
from tessera.queue import Data, End
from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat, event, sent
from tests.polling import eventually

DONE = Data(b"data: [DONE]\n\n")
LASTING = {"X-Tessera-On-Disconnect": "Continue"}
BODY = b'{"choices": []}'
PNG = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image()).decode()}"}}


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(unattended, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def held(redis_client, settings):
    """The number of items in the media store that somebody holds."""

    async def count():
        return await redis_client.zcard(f"{settings.redis_prefix}:{{media}}:holds")

    return count


def ask(gateway, body, headers=LASTING):
    return asyncio.create_task(gateway.post(body, headers=headers))


async def answer_of(gateway, request_id):
    async with gateway.http.get(f"{gateway.url}/v1/requests/{request_id}/events") as response:
        return response.status, await response.read()


async def left(gateway, worker):
    async def counted():
        labels = {"model": worker.card.model, "status": "499"}
        return await gateway.metric("tessera_requests_total", **labels) == 1

    await eventually(counted, "its client is gone")


async def test_a_request_whose_client_leaves_while_it_waits(gateway, worker):
    asked = ask(gateway, chat(worker.card.model))
    await eventually(lambda: _is(worker.waiting(), 1), "it waits")
    asked.cancel()
    await left(gateway, worker)
    assert await worker.waiting() == 1
    lease = await worker.take()
    await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
    assert await answer_of(gateway, lease.job.id) == (200, BODY)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_whose_client_leaves_while_it_runs(gateway, worker, stream):
    asked = ask(gateway, chat(worker.card.model, stream=stream))
    lease = await worker.take()
    if stream:
        await worker.say(lease, STREAM, event("one"))
    asked.cancel()
    await left(gateway, worker)
    entries = (event("two"), DONE) if stream else (DOCUMENT, Data(BODY))
    assert await worker.say(lease, *entries, End(USAGE)) == []
    status, body = await answer_of(gateway, lease.job.id)
    assert status == 200
    assert event("two").body in body if stream else body == BODY


async def test_a_request_whose_client_leaves_while_its_media_is_fetched(gateway, worker, media_server, held):
    fetched, go_on = asyncio.Event(), asyncio.Event()
    url = media_server.serve("/a.png", image())
    serve = media_server.handlers["/a.png"]

    async def wait(request):
        fetched.set()
        await go_on.wait()
        return await serve(request)

    media_server.handlers["/a.png"] = wait
    asked = ask(gateway, chat(worker.card.model, {"type": "image_url", "image_url": {"url": url}}))
    await fetched.wait()
    asked.cancel()
    await asyncio.wait([asked])
    go_on.set()
    lease = await worker.take()
    [part] = sent(lease)["messages"][0]["content"]
    assert part["image_url"]["url"].startswith("tessera-media:")
    assert await held() == 1
    await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
    assert await answer_of(gateway, lease.job.id) == (200, BODY)
    await eventually(lambda: _is(held(), 0), "its media may go")


async def test_its_media_is_held_until_it_has_ended(gateway, worker, held):
    asked = ask(gateway, chat(worker.card.model, PNG))
    lease = await worker.take()
    asked.cancel()
    await left(gateway, worker)
    await eventually(lambda: _is(gateway.metric("tessera_requests_unattended"), 1), "it is kept")
    assert await held() == 1
    await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
    await eventually(lambda: _is(held(), 0), "its media may go")
    assert await gateway.metric("tessera_requests_unattended") == 0


async def test_its_tokens_are_counted_once(gateway, worker):
    asked = ask(gateway, chat(worker.card.model, stream=True))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    asked.cancel()
    await left(gateway, worker)
    await worker.say(lease, DONE, End(USAGE))
    await answer_of(gateway, lease.job.id)
    await eventually(lambda: _is(gateway.metric("tessera_requests_unattended"), 0), "it has ended")
    labels = {"model": worker.card.model, "kind": "completion"}
    assert await gateway.metric("tessera_tokens_total", **labels) == USAGE["completion_tokens"]


@pytest.mark.parametrize("end", ["stops", "is killed"])
async def test_its_media_is_held_when_its_gateway(start_gateway, settings, redis_client, worker, held, end):
    short = settings.model_copy(update={"drain_timeout_s": 0.1, "media_hold_lease_s": 1.0})
    holds = f"{settings.redis_prefix}:{{media}}:holds"
    if end == "stops":
        gateway = await start_gateway(short)
        asked = ask(gateway, chat(worker.card.model, PNG))
        await eventually(lambda: _is(worker.waiting(), 1), "it waits")
        await gateway.stop()
        assert (await asked).error["code"] == "gateway_stopping"
    else:
        async with gateway_process(short) as dying:
            url = f"{dying.url}/v1/chat/completions"
            body = chat(worker.card.model, PNG)
            asked = asyncio.create_task(dying.http.post(url, json=body, headers=LASTING))
            await eventually(lambda: _is(worker.waiting(), 1), "it waits")
            dying.kill()
            await asyncio.gather(asked, return_exceptions=True)
    [(hold, lapses)] = await redis_client.zrange(holds, 0, -1, withscores=True)
    await start_gateway(short)

    async def renewed():
        return await redis_client.zscore(holds, hold) >= lapses + 1000

    await eventually(renewed, "another gateway holds it, longer than its own would have")
    lease = await worker.take()
    await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
    await eventually(lambda: _is(held(), 0), "its media may go")


async def test_a_gateway_that_stops_leaves_it_to_be_picked_up(start_gateway, settings, worker):
    stopping = await start_gateway(settings.model_copy(update={"drain_timeout_s": 0.1}))
    other = await start_gateway(settings)
    asked = ask(stopping, chat(worker.card.model, stream=True))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    await stopping.stop()
    first, error, done, _ = (await asked).body.split(b"\n\n")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "gateway_stopping"
    assert done == b"data: [DONE]"  # and no id: it is no event of the answer
    assert await worker.say(lease, event("two"), DONE, End(USAGE)) == []
    _, body = await answer_of(other, lease.job.id)
    assert body.startswith(first + b"\n\nid: 2-1\n" + event("two").body)


async def test_it_outlives_its_gateway(start_gateway, settings, worker):
    short = settings.model_copy(update={"lease_s": 2.0})
    model = worker.card.model
    async with gateway_process(short) as dying:
        url = f"{dying.url}/v1/chat/completions"
        asked = [asyncio.create_task(dying.http.post(url, json=chat(model), headers=LASTING)) for _ in range(2)]
        asked.append(asyncio.create_task(dying.http.post(url, json=chat(model))))
        running = await worker.take()
        await eventually(lambda: _is(worker.waiting(), 2), "the others wait")
        dying.kill()
        await asyncio.gather(*asked, return_exceptions=True)
    other = await start_gateway(short)

    async def reaped():
        return await other.metric("tessera_jobs_reaped_total", model=model, outcome="orphaned") == 1

    await eventually(reaped, "what is not to last has ended", within_s=30)
    waiting = await worker.take()
    assert await worker.waiting() == 0
    for lease in (running, waiting):
        await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
        assert await answer_of(other, lease.job.id) == (200, BODY)


async def test_a_request_that_could_not_be_queued_does_not_last(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"max_queued_jobs": 1}))
    first = ask(gateway, chat(worker.card.model))
    await eventually(lambda: _is(worker.waiting(), 1), "one waits")
    refused = await gateway.post(chat(worker.card.model), headers=LASTING)
    assert (refused.status, refused.error["code"]) == (429, "queue_full")
    await worker.echo(await worker.take())
    assert (await first).status == 200
    assert await worker.waiting() == 0


async def _is(value, expected):
    return await value == expected
