"""``/v1/messages`` and ``/v1/responses`` are counted, kept small and refused as chats are."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from tessera.queue import Data, End
from tests.gateway.prompts import COUNTER, announce
from tests.gateway.scripted import DOCUMENT, USAGE, ScriptedWorker, sent
from tests.gateway.test_planning import NANO, data_url, family
from tests.gateway.test_responses import asked
from tests.gateway.test_visual_budget import of_model

MESSAGES, RESPONSES, ESTIMATE = "/v1/messages", "/v1/responses", "/v1/estimate"
LENGTH = 200
SCHEMA = {"type": "object", "properties": {}}
FUNCTION = {"name": "look", "description": "Look!", "parameters": SCHEMA}


def png(side=448):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def block(**fields):
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png()}, **fields}


def part(**fields):
    return {"type": "input_image", "image_url": data_url("image/png", base64.b64decode(png())), **fields}


def message(model, *content, **fields):
    said = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    return {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": said}], **fields}


def response(model, *content, **fields):
    said = [{"type": "input_text", "text": each} if isinstance(each, str) else each for each in content]
    return {"model": model, "input": [{"role": "user", "content": said}], **fields}


@pytest.fixture
async def card(card, redis_client, settings):
    small = replace(card, limits={"image": 8}, plan=NANO.to_json(), max_model_len=LENGTH)
    return await announce(redis_client, settings, small)


async def estimated(gateway, body, query=""):
    answer = await gateway.post(body, ESTIMATE + query)
    assert answer.status == 200, answer.body
    return answer.json


async def refused(gateway, worker, body, path, code="context_length_exceeded"):
    answer = await gateway.post(body, path)
    assert answer.status == 400, answer.body
    error = answer.json["error"]
    assert error["code"] == code, error
    assert await worker.waiting() == 0
    return error


async def taken(gateway, worker, body, path):
    """What the engine is asked."""
    async with asyncio.TaskGroup() as tasks:
        posted = tasks.create_task(gateway.post(body, path))
        lease = await worker.take()
        await worker.say(lease, DOCUMENT, Data(b"{}"), End(USAGE))
    assert posted.result().status == 200
    return sent(lease)


async def test_messages_are_estimated_as_the_chat_that_they_are(gateway, worker):
    story = {"type": "document", "title": "Tale", "source": {"type": "text", "data": "Once upon a time"}}
    call = {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "it"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "Seen"}, block()]}
    body = message(worker.card.model, story, block(), system="Be brief.") | {
        "tools": [{"name": "look", "description": "Look!", "input_schema": SCHEMA}]
    }
    body["messages"] += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, story]}]
    told = {"id": "t", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
    tale = "Tale\n\nOnce upon a time"
    chat = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": tale}, None]},
            {"role": "assistant", "tool_calls": [told]},
            {"role": "tool", "tool_call_id": "t", "content": "Seen"},
            {"role": "user", "content": [None]},
            {"role": "user", "content": tale},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
    }
    found = await estimated(gateway, body)
    assert found["text"]["tokens"] == COUNTER.chat(chat, {(1, 1): "image", (4, 0): "image"}).tokens
    assert found["exact"]
    assert [each["path"] for each in found["parts"]] == [
        "messages[0].content[1]",
        "messages[2].content[0].content[1]",
    ]


async def test_whose_body_it_is_can_be_said(gateway, worker):
    body = message(worker.card.model, "Hello")
    body["messages"] = [body["messages"][0], {"role": "system", "content": "Now be brief."}, body["messages"][0]]
    assert COUNTER.system_first is False
    as_messages = await estimated(gateway, body, f"?endpoint={MESSAGES}")
    chat = {"messages": [{**each, "content": each["content"]} for each in body["messages"]]}
    assert as_messages["text"]["tokens"] == COUNTER.chat(chat, {}).tokens
    assert (await gateway.post(body, f"{ESTIMATE}?endpoint={RESPONSES}")).error["param"] == "input"


async def test_responses_are_estimated_with_all_that_went_before(gateway, worker):
    first, _ = await asked(gateway, worker, "One.", input=[{"role": "user", "content": [part(detail="low")]}])
    body = response(worker.card.model, "And this?", part(), instructions="Be brief.", previous_response_id=first)
    body["tools"] = [{"type": "function", **FUNCTION}]
    chat = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [None]},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": [{"type": "text", "text": "And this?"}, None]},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "add_special_tokens": True,
    }
    found = await estimated(gateway, body)
    assert found["text"]["tokens"] == COUNTER.chat(chat, {(1, 0): "image", (3, 1): "image"}).tokens
    assert found["exact"]
    assert [each["path"] for each in found["parts"]] == ["earlier[0].content[0]", "input[0].content[1]"]
    assert (await estimated(gateway, {"model": worker.card.model, "input": "Hello"}))["exact"]


@pytest.mark.parametrize(("make", "path", "param"), [(message, MESSAGES, "messages"), (response, RESPONSES, "input")])
async def test_what_is_longer_than_the_context_is_not_queued(gateway, worker, make, path, param):
    model = worker.card.model
    alone = (await estimated(gateway, make(model, "a")))["text"]["tokens"]
    fits = make(model, "a" + " a" * (LENGTH - alone))
    assert (await estimated(gateway, fits))["text"]["tokens"] == LENGTH
    await taken(gateway, worker, fits, path)
    error = await refused(gateway, worker, make(model, "a a" + " a" * (LENGTH - alone)), path)
    assert error["param"] == param
    assert f"{LENGTH + 1} of text" in error["message"]
    image = block() if make is message else part()
    error = await refused(gateway, worker, make(model, "What?", image), path)
    assert f"{NANO.image(448, 448).tokens} of `{param}[0].content[1]` (image)" in error["message"]


@pytest.mark.parametrize("make", [message, response])
async def test_long_strings_of_large_bodies_are_counted_whole(gateway, worker, make):
    long = "The cat sat on the mat. " * 12_000
    system = {"system": long} if make is message else {"instructions": long}
    image = block() if make is message else part()
    found = await estimated(gateway, make(worker.card.model, long, image, **system))
    said = [{"type": "text", "text": long}, None]
    chat = {"messages": [{"role": "system", "content": long}, {"role": "user", "content": said}]}
    chat["add_special_tokens"] = make is response
    assert found["text"]["tokens"] == COUNTER.chat(chat, {(1, 1): "image"}).tokens
    assert (found["text"]["exact"], found["fits"]) == (True, False)


async def test_parts_of_an_earlier_turn_are_told_apart(gateway, worker):
    first, _ = await asked(gateway, worker, input=[{"role": "user", "content": [part(max_visual_tokens=64)]}])
    small = [part(max_visual_tokens=64)] * 2
    body = response(worker.card.model, "What?", *small, previous_response_id=first)
    error = await refused(gateway, worker, body, RESPONSES)
    assert error["param"] == "input"
    assert "64 of `earlier[0].content[0]` (image), 64 of `input[0].content[1]` (image)" in error["message"]


async def test_a_response_that_may_be_cut_is_left_to_the_engine(gateway, worker):
    body = response(worker.card.model, "a " * 2 * LENGTH, truncation="auto")
    assert (await taken(gateway, worker, body, RESPONSES))["truncation"] == "auto"
    assert "truncate" in (await estimated(gateway, body))["text"]["reason"]


@pytest.mark.parametrize(("make", "image", "path"), [(message, block, MESSAGES), (response, part, RESPONSES)])
async def test_images_are_as_few_tokens_as_asked(gateway, worker, make, image, path):
    model = worker.card.model

    async def tokens(*images, **fields):
        return [each["tokens"] for each in (await estimated(gateway, make(model, *images, **fields)))["parts"]]

    assert await tokens(image(), image(detail="low"), image(max_visual_tokens=16)) == [256, 64, 16]
    assert await tokens(image(), image(), visual_token_budget=128) == [64, 64]
    body = await taken(gateway, worker, make(model, image(max_visual_tokens=64), visual_token_budget=100), path)
    assert "visual_token_budget" not in body
    assert "max_visual_tokens" not in str(body)
    error = await refused(gateway, worker, make(model, image(detail="much")), path, "invalid_value")
    assert error["param"].endswith("content[0]")
    error = await refused(gateway, worker, make(model, image(max_visual_tokens=1)), path, "visual_budget_too_small")
    assert "at least 16" in error["message"]


async def test_what_the_processor_would_have_to_be_told_is_refused_by_name(gateway, worker):
    """vLLM's own translation of Anthropic's messages hands nothing on to it."""
    body = message(worker.card.model, block(), mm_processor_kwargs={"max_pixels": 100_000})
    assert (await refused(gateway, worker, body, MESSAGES, "invalid_value"))["param"] == "mm_processor_kwargs"
    await of_model(gateway, worker, family("idefics3").to_json(), max_model_len=32_768)
    model = worker.card.model
    body = message(model, block(max_visual_tokens=100))
    error = await refused(gateway, worker, body, MESSAGES, "invalid_value")
    assert (error["param"], "tells it nothing" in error["message"]) == (
        "messages[0].content[0].max_visual_tokens",
        True,
    )
    told = await taken(gateway, worker, response(model, part(detail="low")), RESPONSES)
    assert told["mm_processor_kwargs"] == family("idefics3").fewer()[0]


@pytest.mark.parametrize("make", [message, response])
async def test_without_a_tokenizer_their_text_is_guessed(gateway, worker, card, redis_client, settings, make):
    await ScriptedWorker(redis_client, settings, replace(card, prompts="")).announce()
    await gateway.app.state.services.catalogue.refresh()
    picture = block() if make is message else part()
    found = await estimated(gateway, make(worker.card.model, "x" * 40, "y" * 40, picture))
    assert (found["text"]["tokens"], found["text"]["exact"]) == (20, False)
    assert found["fits"] is False
