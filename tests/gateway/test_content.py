from __future__ import annotations

import json

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document
from tessera.gateway.content import find_media


def document(*messages):
    return Document(json.dumps({"messages": messages}).encode())


def found(*content):
    return find_media(document({"role": "user", "content": content}))


def passed_on(*content):
    """What goes on of parts that are no media."""
    read = document({"role": "user", "content": content})
    assert find_media(read) == []
    return json.loads(read.encode())["messages"][0]["content"]


@pytest.mark.parametrize("kind", ["text", "refusal", "thinking", "input_text", "output_text", "tool_reference"])
def test_a_text_part_is_never_a_medium(kind):
    # vLLM takes a part with a `uuid`, or without a `type`, for the medium that any other of its fields names.
    part = {"type": kind, "text": "x", "image_url": {"url": "http://x/"}, "uuid": "1", "cache_control": {}}
    [on] = passed_on(part)
    assert on == {name: value for name, value in part.items() if name != "uuid"}


@pytest.mark.parametrize("name", ["image_embeds", "image_pil", "video_embeds", "prompt_embeds"])
def test_a_part_without_a_type_is_what_the_gateway_took_it_for(name):
    part = {"text": "x", name: "AAAA"}
    assert passed_on(part) == [{**part, "type": "text"}]
    with pytest.raises(InvalidRequest):
        found({name: "AAAA"})


def test_paths_name_message_and_part():
    picture = {"type": "image_url", "image_url": {"url": "https://x/"}}
    parts = find_media(document({"content": "x"}, {}, {"content": None}, {"content": ["x", picture, picture]}))
    assert [p.path for p in parts] == ["messages[3].content[1]", "messages[3].content[2]"]


def test_the_name_of_an_unknown_type_is_shortened():
    with pytest.raises(InvalidRequest) as caught:
        found({"type": "x" * 1_000_000})
    assert len(caught.value.message) < 500
