"""A gateway is killed, or stands still, with requests under way."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.gateway.gateway_process import gateway_process
from tests.gateway.scripted import STREAM, chat, event
from tests.polling import eventually

# Long enough that a busy machine does not look like an outage.
LEASE_S = 2.0


async def test_the_requests_of_a_gateway_that_is_killed_end_within_a_lease(start_gateway, settings, worker):
    short = settings.model_copy(update={"lease_s": LEASE_S})
    async with gateway_process(short) as dying:
        model = worker.card.model
        asked = [dying.ask(chat(model, stream=True)) for _ in range(20)]
        lease = await worker.take()
        await worker.say(lease, STREAM, event("one"))
        await eventually(lambda: _is(worker.waiting(), 19), "the others wait")
        dying.kill()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(r, aiohttp.ClientError) for r in results)
    other = await start_gateway(short)
    await eventually(lambda: _is(worker.running(), 0), "what ran has been ended", within_s=30)
    assert await worker.waiting() == 0
    assert await worker.say(lease, event("late")) == [lease.job.id]
    assert await other.metric("tessera_jobs_reaped_total", model=model, outcome="orphaned") == 20
    async with worker.serving(worker.echo):
        assert (await other.post(chat(model))).status == 200


@pytest.mark.parametrize("begun", [False, True], ids=["waiting", "begun"])
async def test_a_gateway_that_stood_still_tells_its_clients_that_their_requests_have_ended(
    start_gateway, settings, worker, begun
):
    short = settings.model_copy(update={"lease_s": LEASE_S})
    await start_gateway(short)
    async with gateway_process(short) as slow:
        asked = slow.ask(chat(worker.card.model, stream=True))
        if begun:
            lease = await worker.take()
            await worker.say(lease, STREAM, event("one"))
            await eventually(slow.has_begun, "its first piece is out")
        else:
            await eventually(lambda: _is(worker.waiting(), 1), "it waits")
        slow.stop()
        if begun:
            await eventually(lambda: _is(worker.running(), 0), "its request has been ended", within_s=30)
        else:
            await eventually(lambda: _is(worker.waiting(), 0), "its request has been ended", within_s=30)
        slow.go_on()
        body = await asyncio.wait_for(asked, 20)
    error = body.split(b"data: ")[2 if begun else 0]
    assert json.loads(error)["error"]["code"] == "gateway_lost"


async def _is(value, expected):
    return await value == expected
