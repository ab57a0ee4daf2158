"""The bodies of requests that wait or run have a budget, one for each model and one for all."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from tests.gateway.scripted import ScriptedWorker, chat


@pytest.fixture
async def other(redis_client, settings, card):
    """A worker of another model."""
    worker = ScriptedWorker(redis_client, settings, replace(card, model=f"other-{secrets.token_hex(4)}"))
    await worker.announce()
    return worker


def large(worker):
    return chat(worker.card.model, padding="x" * 10_000)


async def refused(gateway, worker):
    answer = await gateway.post(chat(worker.card.model))
    assert (answer.status, answer.error["code"], answer.headers["Retry-After"]) == (429, "queue_bytes_full", "5")
    return answer.error["message"]


async def test_beyond_the_budget_of_a_model_its_requests_are_refused(start_gateway, settings, worker, other):
    gateway = await start_gateway(settings.model_copy(update={"max_queued_bytes": 10_000}))
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(gateway.post(large(worker)))
        lease = await worker.take()
        assert worker.card.model in await refused(gateway, worker)
        second = tasks.create_task(gateway.post(chat(other.card.model)))
        await other.echo(await other.take())
        assert await gateway.metric("tessera_queued_bytes", model=worker.card.model) == len(lease.job.body)
        await worker.echo(lease)
    assert (first.result().status, second.result().status) == (200, 200)
    assert await gateway.metric("tessera_requests_total", model=worker.card.model, code="queue_bytes_full") == 1
    assert await gateway.metric("tessera_queued_bytes", model=worker.card.model) == 0


async def test_beyond_the_budget_of_all_models_every_request_is_refused(start_gateway, settings, worker, other):
    limits = settings.model_copy(update={"max_queued_bytes_in_all": 10_000})
    gateway, neighbour = await start_gateway(limits), await start_gateway(limits)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(gateway.post(large(worker)))
        lease = await worker.take()
        assert "of all models" in await refused(gateway, other)
        await neighbour.app.state.services.queued.refresh()
        await refused(neighbour, other)
        await worker.echo(lease)
    assert first.result().status == 200
    async with asyncio.TaskGroup() as tasks:
        for asked in (gateway, neighbour):
            await asked.app.state.services.queued.refresh()
            tasks.create_task(asked.post(chat(other.card.model)))
            await other.echo(await other.take())
