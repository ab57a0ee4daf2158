"""What a client gets whose request is damaged in Redis."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.scripted import STREAM, chat, event
from tests.polling import eventually


@pytest.mark.parametrize("how", ["its description", "its type"])
async def test_a_damaged_request_is_answered_with_an_error_and_others_are_answered(gateway, worker, how):
    model = worker.card.model
    asked = asyncio.create_task(gateway.post(chat(model)))

    async def queued():
        return await worker.waiting() == 1

    await eventually(queued, "it waits")
    redis, keys = worker.broker._redis, worker.broker.keys
    [job_id] = await redis.zrange(keys.queue(model), 0, -1)
    key = keys.job(model, job_id.decode())
    if how == "its description":
        await redis.hset(key, "meta", "garbage")
    else:
        await redis.set(key, "garbage")
    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(model))).status == 200
        answer = await asked
    assert (answer.status, answer.error["code"]) == (503, "reply_lost")
    kind = "meta" if how == "its description" else "job"
    assert await gateway.metric("tessera_corrupt_records_total", model=model, kind=kind) == 1


async def test_a_stream_whose_reply_is_damaged_ends_with_an_error(gateway, worker):
    model = worker.card.model
    asked = asyncio.create_task(gateway.post(chat(model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))

    async def begun():
        return await gateway.metric("tessera_time_to_first_token_seconds_count", model=model) == 1

    await eventually(begun, "its first piece is out")
    await worker.broker._redis.set(worker.broker.keys.log(model, lease.job.id), "garbage")
    assert await worker.say(lease, event("two")) == [lease.job.id]
    answer = await asked
    assert answer.body.startswith(event("one").body)
    assert b'"code":"reply_lost"' in answer.body
