"""``/v1/messages``: Anthropic's blocks and errors."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from tessera.local.samples import image
from tessera.queue import Data, End, Failure, Head
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, sent

PNG = base64.b64encode(image()).decode()
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"


def asking(worker, *blocks, **fields):
    content = list(blocks) or "Hello"
    return {"model": worker.card.model, "max_tokens": 8, "messages": [{"role": "user", "content": content}], **fields}


async def passed(gateway, worker, body, path=MESSAGES):
    """What the worker is asked."""
    task = asyncio.create_task(gateway.post(body, path))
    lease = await worker.take()
    await worker.say(lease, DOCUMENT, Data(b'{"type": "message"}'), End(USAGE))
    assert (await task).body == b'{"type": "message"}'
    assert lease.job.path == path
    return sent(lease)


def error_of(answer):
    body = answer.json
    assert (set(body), body["type"]) == ({"type", "error"}, "error")
    return body["error"]


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
async def test_images_go_on_as_references(gateway, worker, media_server, path):
    url = media_server.serve("/a.png", image())
    sources = ({"type": "base64", "media_type": "image/png", "data": PNG}, {"type": "url", "url": url})
    for source in sources:
        picture = {"type": "image", "source": source, "cache_control": {"type": "ephemeral"}}
        body = await passed(gateway, worker, asking(worker, {"type": "text", "text": "?"}, picture), path)
        seen = body["messages"][0]["content"][1]["source"]
        assert seen["type"] == "url"
        assert seen["url"].startswith("tessera-media:")


async def test_images_that_a_tool_gave(gateway, worker):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "Here"}, picture]}
    body = await passed(gateway, worker, asking(worker, result))
    text, seen = body["messages"][0]["content"][0]["content"]
    assert text == {"type": "text", "text": "Here"}
    assert seen["source"]["url"].startswith("tessera-media:")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "A story."}, "A story."),
        ({"type": "content", "content": "A story."}, "A story."),
        ({"type": "content", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}, "A\n\nB"),
        ({"type": "base64", "media_type": "text/plain", "data": base64.b64encode(b"A story.").decode()}, "A story."),
    ],
)
async def test_documents_are_texts(gateway, worker, source, text):
    body = await passed(gateway, worker, asking(worker, {"type": "document", "source": source, "title": "Title"}))
    assert body["messages"][0]["content"] == [{"type": "text", "text": f"Title\n\n{text}"}]


def said(block):
    return [{"role": "user", "content": [block]}]


PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": said(PDF)}, "messages[0].content[0]"),
        ({"messages": said({"type": "search_result"})}, "messages[0].content[0]"),
        ({"messages": said({"type": "image", "source": {"type": "url"}})}, "messages[0].content[0]"),
        ({"messages": said({"type": "image"})}, "messages[0].content[0]"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_as_anthropic_tells_it(gateway, worker, change, param):
    answer = await gateway.post({**asking(worker), **change}, MESSAGES)
    error = error_of(answer)
    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", param)


async def test_errors_of_every_kind_have_the_form(gateway, worker, start_gateway, settings, tmp_path):
    unknown = await gateway.post({**asking(worker), "model": "nothing"}, MESSAGES)
    assert (unknown.status, error_of(unknown)["type"]) == (404, "not_found_error")
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\n")
    locked = await start_gateway(settings.model_copy(update={"api_keys_file": keys}))
    keyless = await locked.post(asking(worker), MESSAGES)
    assert (keyless.status, error_of(keyless)["type"]) == (401, "authentication_error")
    async with gateway.http.get(gateway.url + MESSAGES) as answered:
        assert (answered.status, (await answered.json())["type"]) == (405, "error")
    # What a worker tells in OpenAI's form.
    task = asyncio.create_task(gateway.post(asking(worker), MESSAGES))
    refusal = {"error": {"message": "Too long.", "type": "x", "param": "messages", "code": "context_length_exceeded"}}
    entries = (Head(400, "application/json"), Data(json.dumps(refusal).encode()), End({}, (400, "x")))
    await worker.say(await worker.take(), *entries)
    told = error_of(await task)
    assert (told["type"], told["message"]) == ("invalid_request_error", "Too long.")


async def test_a_stream_that_fails_ends_with_an_event(gateway, worker):
    task = asyncio.create_task(gateway.http.post(gateway.url + MESSAGES, json=asking(worker, stream=True)))
    lease = await worker.take()
    assert "stream_options" not in sent(lease)
    begun = b'event: message_start\ndata: {"type":"message_start"}\n\n'
    await worker.say(lease, STREAM, Data(begun))
    async with await task as answer:
        # Only then has it begun; before, the failure would be the answer.
        assert await answer.content.readuntil(begun) == begun
        await worker.finish(lease, Failure("worker_lost", "Gone."))
        told = await answer.content.read()
    assert told.startswith(b"event: error\ndata: ")
    assert json.loads(told.partition(b"data: ")[2])["error"]["type"] == "overloaded_error"
