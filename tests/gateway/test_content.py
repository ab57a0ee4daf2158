from __future__ import annotations

import pytest

from tessera.errors import InvalidRequest
from tessera.gateway.content import find_media


def found(*content):
    return find_media([{"role": "user", "content": list(content)}])


@pytest.mark.parametrize("kind", ["text", "refusal", "thinking", "input_text", "output_text", "tool_reference"])
def test_a_text_part_is_never_a_medium(kind):
    # vLLM takes a part with a `uuid`, or without a `type`, for the medium that any other of its fields names.
    part = {"type": kind, "text": "x", "image_url": {"url": "http://x/"}, "uuid": "1", "cache_control": {}}
    assert found(part) == []
    assert part["type"] == kind
    assert "uuid" not in part
    assert part["cache_control"] == {}


@pytest.mark.parametrize("name", ["image_embeds", "image_pil", "video_embeds", "prompt_embeds"])
def test_a_part_without_a_type_is_what_the_gateway_took_it_for(name):
    part = {"text": "x", name: "AAAA"}
    assert found(part) == []
    assert part["type"] == "text"
    with pytest.raises(InvalidRequest):
        found({name: "AAAA"})


def test_paths_name_message_and_part():
    picture = {"type": "image_url", "image_url": {"url": "https://x/"}}
    parts = find_media([{"content": "x"}, {}, {"content": None}, {"content": ["x", picture, dict(picture)]}])
    assert [p.path for p in parts] == ["messages[3].content[1]", "messages[3].content[2]"]


def test_the_name_of_an_unknown_type_is_shortened():
    with pytest.raises(InvalidRequest) as caught:
        found({"type": "x" * 1_000_000})
    assert len(caught.value.message) < 500
