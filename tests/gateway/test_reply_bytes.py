"""Answers that are complete are dropped where they need more room than there is, and their clients hear of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tessera.queue import Data, End
from tests.gateway.raw import connected, post
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, ScriptedWorker, chat

PIECE = Data(b"data: " + b"x" * 50_000 + b"\n\n")


@pytest.fixture
async def worker(redis_client, settings, card):
    """A worker whose model has room for a million bytes of answers."""
    worker = ScriptedWorker(redis_client, settings.model_copy(update={"max_reply_bytes": 1_000_000}), card)
    await worker.announce()
    return worker


async def test_a_client_that_reads_too_late_hears_that_its_answer_was_dropped(gateway, worker):
    model = worker.card.model
    async with connected(gateway.port, receive_bytes=32_768) as client:
        client.pause()
        client.send(post(chat(model, stream=True), "Connection: close"))
        slow = await worker.take()
        await worker.say(slow, STREAM, *[PIECE] * 18, End(USAGE))
        assert 900_000 < await gateway.metric("tessera_reply_bytes", model=model) < 1_000_000
        assert await gateway.metric("tessera_replies_dropped_total", model=model) == 0
        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(gateway.post(chat(model)))
            await worker.say(await worker.take(), DOCUMENT, Data(b'"' + b"y" * 500_000 + b'"'), End(USAGE))
        assert len(other.result().body) > 500_000
        assert await gateway.metric("tessera_replies_dropped_total", model=model) == 1
        client.resume()
        *_, last, done = (await client.rest()).split(b"data: ")
        assert done.startswith(b"[DONE]")
        assert json.loads(last[: last.index(b"\n")])["error"]["code"] == "reply_dropped"
