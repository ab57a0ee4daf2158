"""``/v1/requests/{id}``: how requests stand, and their end."""

from __future__ import annotations

import asyncio
import time

import pytest

from tessera.queue import Data, End, Failure
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat, event
from tests.polling import eventually

DONE = Data(b"data: [DONE]\n\n")


async def state_of(gateway, request_id):
    status, body = await gateway.get(f"/v1/requests/{request_id}")
    assert status == 200
    return body


async def delete(gateway, request_id):
    async with gateway.http.delete(f"{gateway.url}/v1/requests/{request_id}") as response:
        return response.status, await response.json()


async def test_a_request_is_known_from_the_queue_to_its_end(gateway, worker):
    before = time.time()
    model = worker.card.model
    first = asyncio.create_task(gateway.post(chat(model)))
    await eventually(lambda: _is(worker.waiting(), 1), "it waits")
    second = asyncio.create_task(gateway.post(chat(model, stream=True)))
    await eventually(lambda: _is(worker.waiting(), 2), "the other one waits")
    lease = await worker.take()
    running = await state_of(gateway, lease.job.id)
    assert (running["state"], running["model"], running["endpoint"]) == ("running", model, "/v1/chat/completions")
    assert (running["stream"], running["attempts"], running["queue_position"]) == (False, 1, None)
    assert before - 1 <= running["queued_at"] <= running["started_at"] <= time.time() + 1
    assert (running["ended_at"], running["error"], running["resumed"]) == (None, None, None)
    await worker.say(lease, DOCUMENT, Data(b"{}"), End(USAGE))
    answer = await first
    assert answer.headers["X-Tessera-Request-Id"] == lease.job.id
    ended = await state_of(gateway, answer.headers["X-Tessera-Request-Id"])
    assert (ended["state"], ended["resumed"], ended["error"]) == ("completed", False, None)
    assert ended["ended_at"] >= ended["started_at"]
    other = await worker.take()
    await worker.say(other, STREAM, event("x"), DONE, End(USAGE, resumed=True))
    await second
    assert (await state_of(gateway, other.job.id))["resumed"]


async def test_a_place_in_the_queue(gateway, worker):
    model, ids = worker.card.model, ["a", "b", "c"]
    asked = []
    for n, name in enumerate(ids):
        asked.append(asyncio.create_task(gateway.post(chat(model), headers={"X-Request-Id": name})))
        await eventually(lambda n=n: _is(worker.waiting(), n + 1), "it waits")
    waiting = await worker.broker._redis.zrange(worker.broker.keys.queue(model), 0, -1)
    states = [await state_of(gateway, job_id.decode()) for job_id in waiting]
    assert [(s["id"][0], s["state"], s["queue_position"]) for s in states] == [
        ("a", "queued", 1), ("b", "queued", 2), ("c", "queued", 3),
    ]  # fmt: skip
    assert all(s["started_at"] is None and s["attempts"] == 0 for s in states)
    async with worker.serving(worker.echo):
        await asyncio.gather(*asked)


@pytest.mark.parametrize("prefix", ["chatcmpl-", "cmpl-"])
async def test_the_id_in_the_answer_is_another_spelling(gateway, worker, prefix):
    async with worker.serving(worker.echo):
        answer = await gateway.post(chat(worker.card.model), headers={"X-Request-Id": "chatcmpl-mine"})
    job_id = answer.headers["X-Tessera-Request-Id"]
    assert job_id.startswith("chatcmpl-mine-")
    assert (await state_of(gateway, prefix + job_id))["id"] == job_id


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (Failure("queue_timeout", "Too late."), "queue_timeout"),
        (End(error=(500, "engine_error")), "engine_error"),
    ],
)
async def test_a_request_that_failed_says_why(gateway, worker, last, code):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("x"))
    await worker.finish(lease, last)
    await asked
    state = await state_of(gateway, lease.job.id)
    assert (state["state"], state["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize(
    "request_id", ["unknown", "chatcmpl-", "x" * 300, "%00", "%C3%A9", "a%0A", "*", "..", "a-00000000000000000000"]
)
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
async def test_an_unknown_id(gateway, worker, request_id, method, rest):
    async with gateway.http.request(method, f"{gateway.url}/v1/requests/{request_id}{rest}") as response:
        error = (await response.json())["error"]
    assert response.status == 404
    assert error["code"] in ("request_not_found", "not_found")
    # Nothing is left of the question.
    assert not [key async for key in worker.broker._redis.scan_iter(f"{worker.broker.keys.prefix}:*job*")]


class TestDelete:
    async def test_a_request_that_waits(self, gateway, worker):
        asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
        await eventually(lambda: _is(worker.waiting(), 1), "it waits")
        [job_id] = await worker.broker._redis.zrange(worker.broker.keys.queue(worker.card.model), 0, -1)
        status, body = await delete(gateway, job_id.decode())
        assert (status, body["state"], body["error"]["code"]) == (200, "cancelled", "request_cancelled")
        answer = await asked
        assert (answer.status, answer.error["code"]) == (409, "request_cancelled")
        assert answer.headers["x-should-retry"] == "false"
        assert await worker.waiting() == 0
        assert (await delete(gateway, job_id.decode()))[1]["state"] == "cancelled"

    async def test_a_stream_that_runs(self, gateway, worker):
        url = f"{gateway.url}/v1/chat/completions"
        asked = asyncio.create_task(gateway.http.post(url, json=chat(worker.card.model, stream=True)))
        lease = await worker.take()
        await worker.say(lease, STREAM, event("one"))
        async with await asked as answer:
            assert await answer.content.readuntil(b"\n\n") == event("one").body
            assert (await delete(gateway, answer.headers["X-Tessera-Request-Id"]))[0] == 200
            error, done, _ = (await answer.content.read()).split(b"\n\n")
        assert b'"code":"request_cancelled"' in error
        assert done == b"data: [DONE]"
        assert await worker.say(lease, event("two")) == [lease.job.id]

    async def test_by_another_gateway(self, start_gateway, settings, gateway, worker):
        other = await start_gateway(settings)
        asked = asyncio.create_task(gateway.post(chat(worker.card.model)))
        lease = await worker.take()
        assert (await delete(other, lease.job.id))[0] == 200
        assert (await asked).error["code"] == "request_cancelled"

    async def test_what_has_ended_stays_as_it_is(self, gateway, worker):
        async with worker.serving(worker.echo):
            answer = await gateway.post(chat(worker.card.model))
        status, body = await delete(gateway, answer.headers["X-Tessera-Request-Id"])
        assert (status, body["state"]) == (200, "completed")


async def test_what_to_do_when_the_client_leaves_is_one_of_two(gateway, worker):
    answer = await gateway.post(chat(worker.card.model), headers={"X-Tessera-On-Disconnect": "maybe"})
    assert (answer.status, answer.error["param"]) == (400, "X-Tessera-On-Disconnect")
    assert "`continue`" in answer.error["message"]


async def _is(value, expected):
    return await value == expected
