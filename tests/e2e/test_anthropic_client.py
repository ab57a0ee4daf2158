"""Anthropic's own client against the real server."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import pytest

from tests.e2e.media import picture
from tests.stack import RunningStack, request

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
GREEDY = {"extra_body": {"temperature": 0}}
# Without `strict`, vLLM holds a call to being JSON, not to the schema.
TOOL: dict[str, Any] = {
    "name": "look",
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {"at": {"type": "string", "maxLength": 5}},
        "required": ["at"],
        "additionalProperties": False,
    },
}


def image(colour: str = "red") -> dict[str, Any]:
    data = base64.b64encode(picture(colour)).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def asking(*blocks: dict[str, Any] | str) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    return [{"role": "user", "content": content}]


DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "The sky is green."}}
ASKED = {"text": asking("Tell me a story."), "image": asking(image(), "What is this?")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ASKED)
def test_same_answer_as_vllms(stack: RunningStack, name: str, *, stream: bool) -> None:
    body = {"model": MODEL, "messages": ASKED[name], "max_tokens": 12, "temperature": 0, "stream": stream}
    told = []
    for url in (stack.url, stack.direct_url):
        status, _, content = request(f"{url}/v1/messages", body)
        assert status == 200, content
        events = [e.partition(b"data: ")[2] for e in content.split(b"\n\n") if e] if stream else [content]
        told.append(_joined([_without_id(json.loads(event)) for event in events]))
    assert told[0] == told[1]
    asked = {"model": MODEL, "messages": ASKED[name]}
    counts = [request(f"{url}/v1/messages/count_tokens", asked)[2] for url in (stack.url, stack.direct_url)]
    assert json.loads(counts[0]) == json.loads(counts[1])


def _joined(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With neighbouring pieces of the text in one: where they are cut is a matter of time."""
    joined: list[dict[str, Any]] = []
    for event in events:
        if joined and event["type"] == joined[-1]["type"] == "content_block_delta":
            joined[-1]["delta"]["text"] += event["delta"]["text"]
        else:
            joined.append(event)
    return joined


def _without_id(told: dict[str, Any]) -> dict[str, Any]:
    """Neither ids nor what happened to be cached."""
    told = {**told, **({"message": _without_id(told["message"])} if "message" in told else {})}
    usage = told.get("usage") or {}
    cached = usage.pop("cache_read_input_tokens", None) or 0
    if "input_tokens" in usage:
        usage["input_tokens"] += cached
    return {name: value for name, value in told.items() if name != "id"}


def test_a_message_and_its_stream(claude: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {"model": MODEL, "messages": asking(image(), "What is this?"), "max_tokens": 12, **GREEDY}
    whole = claude.messages.create(**options)
    with claude.messages.stream(**options) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said == whole.content[0].text  # type: ignore[union-attr]
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_tokens_are_counted(claude: anthropic.Anthropic) -> None:
    few = claude.messages.count_tokens(model=MODEL, messages=asking("Hello")).input_tokens  # type: ignore[arg-type]
    more = claude.messages.count_tokens(model=MODEL, messages=asking(image(), "Hello")).input_tokens  # type: ignore[arg-type]
    assert 0 < few < more


def test_documents(claude: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {"model": MODEL, "max_tokens": 8, **GREEDY}
    answer = claude.messages.create(messages=asking(DOCUMENT, "What colour?"), **options)
    as_text = claude.messages.create(messages=asking("The sky is green.", "What colour?"), **options)
    assert answer.content[0].text == as_text.content[0].text  # type: ignore[union-attr]


def test_a_tool(claude: anthropic.Anthropic) -> None:
    # Sampled, one call in twenty puts more blanks into its JSON than there is room for.
    called = claude.messages.create(
        model=MODEL,
        messages=asking("Look"),
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "look"},
        max_tokens=128,
        **GREEDY,
    )  # type: ignore[call-overload]
    assert called.stop_reason == "tool_use"
    [call] = [block for block in called.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [image()]}
    messages = [
        *asking("Look"),
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result]},
    ]
    answer = claude.messages.create(model=MODEL, messages=messages, tools=[TOOL], max_tokens=8)  # type: ignore[list-item]
    assert answer.content


def test_errors_are_anthropics(claude: anthropic.Anthropic) -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    with pytest.raises(anthropic.BadRequestError, match="damaged"):
        claude.messages.create(model=MODEL, messages=asking(pdf), max_tokens=8)  # type: ignore[arg-type]
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nothing", messages=asking("Hello"), max_tokens=8)  # type: ignore[arg-type]
    with pytest.raises(anthropic.BadRequestError) as refused:
        claude.messages.create(model=MODEL, messages=asking("Hello " * 20_000), max_tokens=8)  # type: ignore[arg-type]
    body: Any = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
