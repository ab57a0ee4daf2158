"""What waits is told in tokens, of text and media, until its answer begins."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tessera.queue import Data, End
from tests.gateway.scripted import DOCUMENT, USAGE, chat
from tests.gateway.test_planning import NANO, PICTURE
from tests.polling import eventually

IMAGE = NANO.image(224, 224).tokens
WORDS = "word " * 4000


@pytest.fixture
async def card(card):
    return replace(card, limits={"image": 8}, plan=NANO.to_json())


async def test_text_and_pictures_of_what_waits_are_counted(gateway, worker):
    model = worker.card.model

    async def waiting():
        return await gateway.metric("tessera_backlog_tokens", model=model, **{"class": "interactive"})

    async def queued(number):
        return await worker.waiting() == number

    async def nothing_waits():
        return await waiting() == 0

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(gateway.post(chat(model, PICTURE)))
        await eventually(lambda: queued(1), "a picture waits")
        with_picture = await waiting()
        # A chat around it, in this server's words.
        assert IMAGE < with_picture < IMAGE + 200
        second = tasks.create_task(gateway.post(chat(model, {"type": "text", "text": WORDS})))
        await eventually(lambda: queued(2), "a text waits, too")
        # Nothing was learnt of this model: four bytes to a token.
        assert len(WORDS) / 4 <= await waiting() - with_picture < len(WORDS) / 4 + 200
        await worker.say(await worker.take(), DOCUMENT, Data(b"{}"), End(USAGE))
        assert (await first).status == 200
        assert len(WORDS) / 4 <= await waiting() < len(WORDS) / 4 + 200
        second.cancel()
    await eventually(nothing_waits, "its client has left")
