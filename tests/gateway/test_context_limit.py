"""What is longer than the model's context is refused before it is queued, with the numbers of each part."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tessera.queue import Data, End
from tests.gateway.prompts import COUNTER, announce
from tests.gateway.scripted import DOCUMENT, USAGE, ScriptedWorker, chat
from tests.gateway.test_planning import NANO, PICTURE

LENGTH = 200
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
IMAGE = NANO.image(224, 224).tokens


@pytest.fixture
async def card(card, redis_client, settings):
    small = replace(card, limits={"image": 8}, plan=NANO.to_json(), max_model_len=LENGTH)
    return await announce(redis_client, settings, small)


@pytest.fixture
def prepared(gateway, monkeypatch):
    """Sources of the media that was prepared."""
    seen = []
    stage = gateway.app.state.services.stage
    prepare = stage.prepare

    # One after the other: the same picture is decoded once, and all that wait for it would have it in the same moment.
    turn = asyncio.Lock()

    async def watched(modality, source, *args, **options):
        async with turn:
            item = await prepare(modality, source, *args, **options)
            seen.append(source)
        return item

    monkeypatch.setattr(type(stage), "prepare", lambda self, *args, **options: watched(*args, **options))
    return seen


async def taken(gateway, worker, body, path=CHAT):
    """A request that goes to the engine."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(body, path))
        await worker.say(await worker.take(), DOCUMENT, Data(b"{}"), End(USAGE))
    assert asked.result().status == 200


async def refused(gateway, worker, body, path=CHAT):
    answer = await gateway.post(body, path)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded"), answer.body
    assert answer.error["type"] == "invalid_request_error"
    assert await worker.waiting() == 0
    return answer.error


def words(model, number):
    """A chat whose prompt is exactly so many tokens."""
    body = chat(model, "a")
    while (tokens := COUNTER.chat(body, {}).tokens) < number:
        body["messages"][0]["content"][0] += " a" * max(1, (number - tokens) // 2)
    assert tokens == number
    return body


async def test_text_alone(gateway, worker):
    await taken(gateway, worker, words(worker.card.model, LENGTH))
    error = await refused(gateway, worker, words(worker.card.model, LENGTH + 1))
    assert error["message"] == (
        "This model's maximum context length is 200 tokens. However, your prompt contains 201 input tokens, which "
        "exceeds this limit even without any output tokens: 201 of text. Please reduce the length of the input prompt."
    )
    assert error["param"] == "messages"


async def test_text_that_is_too_long_costs_no_decoding(gateway, worker, prepared):
    body = words(worker.card.model, LENGTH + 1)
    body["messages"][0]["content"].append(PICTURE)
    error = await refused(gateway, worker, body)
    assert prepared == []
    assert "contains at least 20" in error["message"]


async def test_media_that_is_too_much_ends_the_rest(gateway, worker, prepared):
    error = await refused(gateway, worker, chat(worker.card.model, "What?", *[PICTURE] * 8))
    text = COUNTER.chat(chat("m", "What?", *[PICTURE] * 8), {(0, i): "image" for i in range(1, 9)}).tokens
    least = (LENGTH - text) // IMAGE + 1
    assert least <= len(prepared) < 8
    assert f"contains at least {text + IMAGE * least} input tokens" in error["message"]
    assert f"{IMAGE} of `messages[0].content[1]` (image)" in error["message"]


async def test_text_and_media_together(gateway, worker):
    fits = chat(worker.card.model, "a", PICTURE)
    text = COUNTER.chat(fits, {(0, 1): "image"}).tokens
    room = LENGTH - IMAGE - text
    fits["messages"][0]["content"][0] += " a" * room
    await taken(gateway, worker, fits)
    fits["messages"][0]["content"][0] += " a"
    error = await refused(gateway, worker, fits)
    assert f"contains {LENGTH + 1} input tokens" in error["message"]
    assert f"{LENGTH + 1 - IMAGE} of text, {IMAGE} of `messages[0].content[1]` (image)" in error["message"]


async def test_prompts_of_completions_have_a_context_each(gateway, worker):
    half = [5] * (LENGTH - 1)
    await taken(gateway, worker, {"model": worker.card.model, "prompt": [half, half]}, COMPLETION)
    error = await refused(gateway, worker, {"model": worker.card.model, "prompt": [half, [*half, 5, 5]]}, COMPLETION)
    assert (error["param"], f"contains {LENGTH + 1} input" in error["message"]) == ("prompt", True)


async def test_far_from_the_limit_nothing_is_counted(gateway, worker, card, redis_client, settings):
    far = replace(card, max_model_len=32_768)
    await ScriptedWorker(redis_client, settings, far).announce()
    await gateway.app.state.services.catalogue.refresh()
    await taken(gateway, worker, chat(worker.card.model, "Hello " * 100, PICTURE))
    assert gateway.app.state.services.counters.loaded(far) is None


async def test_what_is_cut_to_fit_is_not_refused(gateway, worker):
    await taken(gateway, worker, words(worker.card.model, 2 * LENGTH) | {"truncate_prompt_tokens": 100})


async def test_what_is_not_known_exactly_is_left_to_the_engine(gateway, worker, card, redis_client, settings):
    await ScriptedWorker(redis_client, settings, replace(card, prompts="", plan={})).announce()
    await gateway.app.state.services.catalogue.refresh()
    await taken(gateway, worker, chat(worker.card.model, "a " * 2 * LENGTH, *[PICTURE] * 8))
