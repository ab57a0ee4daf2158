"""What a client gets whose request ends the workers that run it."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.scripted import STREAM, chat, event


@pytest.mark.parametrize("begun", [False, True], ids=["before its first token", "in the middle of its stream"])
async def test_a_request_that_kills_its_workers_is_answered_with_an_error_that_clients_do_not_repeat(
    gateway, worker, settings, begun
):
    model = worker.card.model
    asked = asyncio.create_task(gateway.post(chat(model, stream=True)))
    for turn in range(settings.max_attempts):
        lease = await worker.take()
        if begun and not turn:
            await worker.say(lease, STREAM, event("one"))
        await worker.broker.release(model, [lease], failed=True)
    answer = await asked
    if begun:
        assert answer.body.startswith(event("one").body)
        assert b'"code":"poison_request"' in answer.body
    else:
        assert (answer.status, answer.error["code"], answer.error["type"]) == (500, "poison_request", "server_error")
        assert answer.headers["x-should-retry"] == "false"
        assert "3 workers died" in answer.error["message"]
    assert await gateway.metric("tessera_requests_total", model=model, code="poison_request") == 1
    assert await gateway.metric("tessera_jobs_set_aside_total", model=model) == 1
    assert await gateway.metric("tessera_dead_jobs", model=model) == 1
    assert await gateway.metric("tessera_suspect_jobs", model=model) == 0
    assert await gateway.metric("tessera_workers_kept_free", model=model) == 0


async def test_with_an_idempotency_key_it_kills_no_more_workers_when_it_is_sent_again(gateway, worker, settings):
    request = {"body": chat(worker.card.model), "headers": {"Idempotency-Key": "k"}}
    asked = asyncio.create_task(gateway.post(**request))
    for _ in range(settings.max_attempts):
        await worker.broker.release(worker.card.model, [await worker.take()], failed=True)
    first, again = await asked, await gateway.post(**request)
    assert [(answer.status, answer.error["code"]) for answer in (first, again)] == [(500, "poison_request")] * 2
    assert await worker.waiting() == 0
