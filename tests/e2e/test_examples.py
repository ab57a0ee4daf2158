"""The answers in the description against those that the server gives: the same members, of the same kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tessera.gateway.examples import load_examples
from tests.e2e.forms import same_form
from tests.e2e.media import image_part, text_part, user
from tests.stack import RunningStack, request

pytestmark = pytest.mark.e2e
EXAMPLES = load_examples()
CHAT = {"messages": user(text_part("What colour is this?"), image_part()), "max_tokens": 32, "temperature": 0}
SHORT = {"messages": user(text_part("Say hello.")), "max_tokens": 4}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/chat/completions/batch": {**CHAT, "messages": [CHAT["messages"], SHORT["messages"]]},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0},
    "/v1/responses": {"input": "Say hello.", "max_output_tokens": 8, "temperature": 0},
    "/v1/messages": SHORT,
    "/v1/messages/count_tokens": {"messages": SHORT["messages"]},
    "/v1/estimate": CHAT,
    "/tokenize": {"prompt": "Once upon a time"},
    "/detokenize": {"tokens": [1, 2, 3]},
}
STREAMED = {
    **{path: ASKED[path] for path in ("/v1/completions", "/v1/responses", "/v1/messages")},
    # It ends in the middle.
    "/v1/chat/completions": {**CHAT, "max_tokens": 3},
}


def events_of(text: str) -> list[tuple[str, Any]]:
    """Names of events, which only some streams have, and what they say."""
    found = []
    for event in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        found.append(
            (fields.get("event", ""), fields["data"] if fields["data"] == "[DONE]" else json.loads(fields["data"]))
        )
    return found


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_is_like_its_example(stack: RunningStack, path: str) -> None:
    status, _, content = request(stack.url + path, {"model": stack.model, **ASKED[path]})
    assert status == 200, content
    example = EXAMPLES[f"POST {path}"]["document"]
    assert same_form(example, json.loads(content)), (example, content)


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_is_like_its_example(stack: RunningStack, path: str) -> None:
    status, _, content = request(stack.url + path, {"model": stack.model, **STREAMED[path], "stream": True})
    assert status == 200, content
    answered = events_of(content.decode())
    for name, told in events_of("\n\n".join(EXAMPLES[f"POST {path}"]["stream"])):
        assert any(name == other and same_form(told, said) for other, said in answered), (name, told, content)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tessera-nano", "/version", "/readyz", "/sd/workers"])
def test_what_is_told_of_the_server_is_like_its_example(stack: RunningStack, path: str) -> None:
    status, content = stack.get(path)
    assert status == 200, content
    example = EXAMPLES[f"GET {path.replace('tessera-nano', '{model}')}"]["document"]
    assert same_form(example, json.loads(content)), (example, content)
