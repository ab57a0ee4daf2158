"""Workers are told what each part is to be, where the client asks for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tessera.queue import Data, End, PartTokens
from tests.gateway.scripted import DOCUMENT, chat, sent
from tests.gateway.test_planning import NANO, PICTURE, SOUND


@pytest.fixture
def card(card):
    return replace(card, limits={"image": 4, "audio": 1}, plan=NANO.to_json())


async def lease_of(gateway, worker, body):
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(body))
        lease = await worker.take()
        await worker.say(lease, DOCUMENT, Data(b"{}"), End({"prompt_tokens": 7}))
    assert asked.result().status == 200
    return lease


async def test_every_part_is_told(gateway, worker):
    body = chat(worker.card.model, PICTURE, "and", SOUND, PICTURE, usage_by_part=True, stream=True)
    lease = await lease_of(gateway, worker, body | {"stream_options": {"include_usage": True}})
    [one, sound, other] = lease.job.parts
    assert one == PartTokens("messages[0].content[0]", "image", NANO.image(224, 224).tokens)
    assert (sound.path, sound.modality, other.path) == ("messages[0].content[2]", "audio", "messages[0].content[3]")
    assert "usage_by_part" not in sent(lease)


@pytest.mark.parametrize("asked", [None, False])
async def test_nothing_is_told_where_nobody_asks(gateway, worker, asked):
    assert (await lease_of(gateway, worker, chat(worker.card.model, PICTURE, usage_by_part=asked))).job.parts == ()


async def test_another_value_is_refused(gateway, worker):
    answer = await gateway.post(chat(worker.card.model, usage_by_part="yes"))
    assert (answer.status, answer.error["param"]) == (400, "usage_by_part")


async def test_with_text_alone_there_is_no_part(gateway, worker):
    assert (await lease_of(gateway, worker, chat(worker.card.model, usage_by_part=True))).job.parts == ()
