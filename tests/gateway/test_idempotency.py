"""``Idempotency-Key``: a request that is sent again is not run again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import openai
import pytest

from tessera.errors import QueueUnavailable
from tessera.local.samples import image
from tessera.queue import Data, End, Failure, Head
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, ScriptedWorker, chat, event
from tests.polling import eventually

DONE = Data(b"data: [DONE]\n\n")
BODY = b'{"choices": []}'
KEY = {"Idempotency-Key": "k-1"}


def ask(gateway, body, headers=KEY):
    return asyncio.create_task(gateway.post(body, headers=headers))


async def answered(gateway, worker, body, *entries, headers=KEY):
    """The answer to a request that is run, and its job."""
    asked = ask(gateway, body, headers)
    lease = await worker.take()
    await worker.finish(lease, *entries)
    return await asked, lease.job.id


async def test_a_finished_request_is_answered_again_by_any_gateway(start_gateway, settings, gateway, worker):
    other = await start_gateway(settings)
    body = chat(worker.card.model)
    first, job_id = await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    assert "Idempotency-Replayed" not in first.headers
    for again in (gateway, other):
        answer = await again.post(body, headers=KEY)
        assert (answer.status, answer.body) == (200, BODY)
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert answer.headers["X-Tessera-Request-Id"] == job_id
    assert await worker.waiting() == 0
    model = worker.card.model
    assert await gateway.metric("tessera_requests_joined_total", model=model, state="finished") == 2
    assert await gateway.metric("tessera_requests_total", model=model, status="200") == 3
    assert await gateway.metric("tessera_tokens_total", model=model, kind="completion") == 3
    assert await gateway.metric("tessera_time_to_first_token_seconds_count", model=model) == 1


async def test_a_stream_that_runs_is_joined(start_gateway, settings, gateway, worker):
    other = await start_gateway(settings)
    body = chat(worker.card.model, stream=True)
    first = ask(gateway, body)
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    second = ask(other, body)
    await eventually(lambda: other.open_streams == 1, "the second follows")
    await worker.say(lease, event("two"), DONE, End(USAGE))
    answers = [await first, await second]
    assert answers[0].body == answers[1].body
    assert answers[0].body.startswith(b"id: 1-1\n" + event("one").body)
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert await worker.waiting() == 0


@pytest.mark.parametrize("kind", ["text", "media"])
async def test_of_several_at_once_one_runs(start_gateway, settings, gateway, worker, media_server, kind):
    other = await start_gateway(settings)
    body = chat(worker.card.model)
    if kind == "media":
        url = media_server.serve("/a.png", image())
        body = chat(worker.card.model, {"type": "image_url", "image_url": {"url": url}})
    asked = [ask(g, body) for g in (gateway, other) * 8]
    async with worker.serving(worker.echo):
        answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.headers["X-Tessera-Request-Id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


async def test_what_is_known_is_not_prepared_again(gateway, worker, media_server):

    part = {"type": "image_url", "image_url": {"url": media_server.serve("/a.png", image())}}
    body = chat(worker.card.model, part)
    await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    assert (await gateway.post(body, headers=KEY)).body == BODY
    assert media_server.asked == ["/a.png"]


@pytest.mark.parametrize("running", [True, False])
async def test_another_body_under_the_same_key_is_refused(gateway, worker, running):
    body = chat(worker.card.model)
    if running:
        first = ask(gateway, body)
        lease = await worker.take()
    else:
        await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    for other in (chat(worker.card.model, temperature=0), json.dumps(body, indent=1).encode()):
        answer = await gateway.post(other, headers=KEY)
        assert (answer.status, answer.error["code"]) == (422, "idempotency_key_reused")
        assert answer.error["param"] == "Idempotency-Key"
    assert await worker.waiting() == 0
    if running:
        await worker.echo(lease)
        await first


async def test_another_path_under_the_same_key_is_refused(gateway, worker):
    both = {**chat(worker.card.model), "prompt": "Hello"}
    await answered(gateway, worker, both, DOCUMENT, Data(BODY), End(USAGE))
    answer = await gateway.post(both, "/v1/completions", headers=KEY)
    assert answer.error["code"] == "idempotency_key_reused"


async def test_keys_of_two_models_have_nothing_to_do_with_each_other(gateway, worker, redis_client, settings, card):
    other = ScriptedWorker(redis_client, settings, replace(card, model=f"{card.model}-2"))
    await other.announce()
    await gateway.get("/readyz")
    async with worker.serving(worker.echo), other.serving(other.echo):
        answers = [await gateway.post(chat(w.card.model), headers=KEY) for w in (worker, other)]
    assert [answer.status for answer in answers] == [200, 200]
    assert not any("Idempotency-Replayed" in answer.headers for answer in answers)


REFUSED = (Head(400, "application/json"), Data(b'{"error":{}}'), End(error=(400, "invalid_value")))


async def test_a_refusal_of_the_engine_is_the_answer(gateway, worker):
    body = chat(worker.card.model)
    first, _ = await answered(gateway, worker, body, *REFUSED)
    again = await gateway.post(body, headers=KEY)
    assert (first.status, first.body) == (again.status, again.body) == (400, b'{"error":{}}')


@pytest.mark.parametrize(
    "entries",
    [
        [Failure("worker_lost", "It died.")],
        [Failure("queue_timeout", "Too late.")],
        [Head(500, "application/json"), Data(b"{}"), End(error=(500, "engine_error"))],
        [Head(503, "application/json"), Data(b"{}"), End(error=(503, "engine_busy"))],
    ],
    ids=["worker_lost", "queue_timeout", "engine_error", "engine_busy"],
)
async def test_what_the_server_failed_on_is_run_anew(gateway, worker, entries):
    body = chat(worker.card.model)
    first, failed = await answered(gateway, worker, body, *entries)
    assert first.status >= 500
    second, job_id = await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    assert (second.status, second.body) == (200, BODY)
    assert job_id != failed
    assert (await gateway.post(body, headers=KEY)).headers["X-Tessera-Request-Id"] == job_id


async def test_what_was_cancelled_is_run_anew(gateway, worker):
    body = chat(worker.card.model)
    first = ask(gateway, body)
    lease = await worker.take()
    async with gateway.http.delete(f"{gateway.url}/v1/requests/{lease.job.id}") as response:
        assert response.status == 200
    assert (await first).error["code"] == "request_cancelled"
    second, _ = await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    assert second.status == 200


async def test_one_that_nobody_confirmed_is_joined_and_not_cancelled(gateway, worker, monkeypatch):
    broker = gateway.app.state.services.broker
    enqueue = broker.enqueue_once

    async def unconfirmed(*arguments, **options):
        await enqueue(*arguments, **options)
        raise QueueUnavailable("The answer got lost.")

    body = chat(worker.card.model)
    with monkeypatch.context() as patch:
        patch.setattr(broker, "enqueue_once", unconfirmed)
        assert (await gateway.post(body, headers=KEY)).status == 503
    await gateway.app.state.services.abandoned.settle(at_most_s=10)
    again = ask(gateway, body)
    await worker.finish(await worker.take(), DOCUMENT, Data(BODY), End(USAGE))
    answer = await again
    assert (answer.status, answer.headers["Idempotency-Replayed"]) == (200, "true")


@pytest.mark.parametrize("lost", ["the answer", "all of it", "the key"])
async def test_what_is_no_longer_kept_is_run_anew(gateway, worker, lost):
    body, model = chat(worker.card.model), worker.card.model
    _, job_id = await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    redis, keys = worker.broker._redis, worker.broker.keys
    if lost == "the key":
        [names] = {key async for key in redis.scan_iter(f"{keys.prefix}:*:keys:*")}
        [name] = await redis.zrange(names, 0, -1)
        assert 0 < await redis.ttl(f"{keys.model(model)}once:{name.decode()}") <= 3600
        await redis.delete(f"{keys.model(model)}once:{name.decode()}")
    else:
        await redis.delete(keys.log(model, job_id))
    if lost == "all of it":
        await redis.delete(keys.job(model, job_id))
    second, other = await answered(gateway, worker, body, DOCUMENT, Data(BODY), End(USAGE))
    assert second.status == 200
    assert other != job_id


async def test_the_oldest_keys_are_forgotten(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"max_idempotency_keys": 3}))
    body = chat(worker.card.model)
    async with worker.serving(worker.echo):
        for n in range(5):
            await gateway.post(body, headers={"Idempotency-Key": f"k{n}"})
        replayed = []
        for n in (4, 3, 2, 1):
            answer = await gateway.post(body, headers={"Idempotency-Key": f"k{n}"})
            replayed.append("Idempotency-Replayed" in answer.headers)
    assert replayed == [True, True, True, False]
    keys = {key async for key in worker.broker._redis.scan_iter(f"{worker.broker.keys.prefix}:*once:*")}
    assert len(keys) == 3


async def test_a_client_with_a_key_may_leave_and_come_back(gateway, worker):
    body = chat(worker.card.model)
    first = ask(gateway, body)
    lease = await worker.take()
    first.cancel()
    await eventually(lambda: gateway.open_streams == 0, "it has left")
    second = ask(gateway, body)
    await eventually(lambda: gateway.open_streams == 1, "it is back")
    await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
    assert (await second).body == BODY


async def test_unless_it_says_that_it_will_not(gateway, worker):
    first = ask(gateway, chat(worker.card.model), {**KEY, "X-Tessera-On-Disconnect": "cancel"})
    lease = await worker.take()
    first.cancel()
    await eventually(lambda: worker.cancelled(lease.job.id), "it is cancelled")


async def test_whoever_joined_may_leave_without_ending_it(gateway, worker):
    body = chat(worker.card.model)
    first = ask(gateway, body)
    lease = await worker.take()
    second = ask(gateway, body, {**KEY, "X-Tessera-On-Disconnect": "cancel"})
    await eventually(lambda: gateway.open_streams == 2, "it has joined")
    second.cancel()
    await eventually(lambda: gateway.open_streams == 1, "it has left")
    await worker.say(lease, DOCUMENT, Data(BODY), End(USAGE))
    assert (await first).body == BODY


async def test_openais_client_reads_such_a_stream_and_gets_it_again(gateway, worker):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        create = client.chat.completions.create
        stream = asyncio.create_task(create(**chat(worker.card.model, stream=True), extra_headers=KEY))
        lease = await worker.take()
        await worker.say(lease, STREAM, event("one"), event("two"), DONE, End(USAGE))
        for answer in (await stream, await create(**chat(worker.card.model, stream=True), extra_headers=KEY)):
            assert [chunk.choices[0].delta.content async for chunk in answer] == ["one", "two"]


async def test_a_key_at_its_limit(gateway, worker):
    async with worker.serving(worker.echo):
        for key in ("!" * 255, "~", "a"):
            assert (await gateway.post(chat(worker.card.model), headers={"Idempotency-Key": key})).status == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "schlüssel", "a\tb"])
async def test_a_key_that_is_none(gateway, worker, key):
    answer = await gateway.post(chat(worker.card.model), headers={"Idempotency-Key": key})
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_value", "Idempotency-Key")
