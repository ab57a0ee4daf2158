from __future__ import annotations

import json

import pytest

from tessera.errors import InvalidRequest, MissingField
from tessera.gateway.body import Document
from tessera.gateway.content import find_media
from tessera.gateway.endpoints import CHAT


def document(*messages):
    return Document(json.dumps({"messages": messages}).encode())


def found(*content):
    return find_media(document({"role": "user", "content": content}), CHAT)


def passed_on(*content):
    """What goes on of parts that are no media."""
    read = document({"role": "user", "content": content})
    assert find_media(read, CHAT) == []
    return json.loads(read.encode())["messages"][0]["content"]


TEXTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "tool_reference": "name",
}
MEDIA = ["image_url", "video_url", "audio_url", "input_audio"]


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_part_is_never_a_medium(kind):
    # vLLM takes a part with a `uuid`, or without a `type`, for the medium that any other of its fields names.
    part = {"type": kind, TEXTS[kind]: "x", "image_url": None, "uuid": "1", "cache_control": {}}
    [on] = passed_on(part)
    assert on == {name: value for name, value in part.items() if name != "uuid"}


def test_a_part_without_a_type_is_what_the_gateway_took_it_for():
    assert passed_on({"text": "x", "y": 1}) == [{"type": "text", "text": "x", "y": 1}]


@pytest.mark.parametrize("other", [*MEDIA, "image_embeds", "image_pil", "video_embeds", "prompt_embeds", "input_image"])
@pytest.mark.parametrize("kind", [*TEXTS, *MEDIA, None])
def test_a_part_of_two_kinds_is_refused_by_name(kind, other):
    own = TEXTS.get(kind, kind or "text")
    part = {own: {"url": "https://x/", "data": "AAAA"} if own in MEDIA else "x", other: {"url": "https://x/"}}
    if own == other:
        return
    with pytest.raises(InvalidRequest) as refused:
        found({"type": kind, **part} if kind else part)
    assert refused.value.param == "messages[0].content[0]"
    assert "cannot have" in refused.value.message


def test_a_caption_in_a_picture_is_refused_too():
    with pytest.raises(InvalidRequest, match="`image_url` cannot have `text`"):
        found({"type": "image_url", "image_url": "https://x/", "text": "What is it?"})


@pytest.mark.parametrize("value", [None, 5, True, {}, [], ["x"], [{"type": "text", "text": "x"}]])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_is_no_string_is_refused_by_name(kind, value):
    with pytest.raises(InvalidRequest, match=f"`{TEXTS[kind]}`") as refused:
        found("x", {"type": kind, TEXTS[kind]: value})
    assert refused.value.param == "messages[0].content[1]"


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_part_without_text_is_refused_by_name(kind):
    with pytest.raises(MissingField, match=f"`{TEXTS[kind]}`") as refused:
        found({"type": kind})
    assert refused.value.param == "messages[0].content[0]"


def test_an_empty_text_is_a_text():
    assert passed_on({"type": "text", "text": ""}) == [{"type": "text", "text": ""}]


def test_paths_name_message_and_part():
    picture = {"type": "image_url", "image_url": {"url": "https://x/"}}
    parts = find_media(document({"content": "x"}, {}, {"content": None}, {"content": ["x", picture, picture]}), CHAT)
    assert [p.path for p in parts] == ["messages[3].content[1]", "messages[3].content[2]"]


def test_the_name_of_an_unknown_type_is_shortened():
    with pytest.raises(InvalidRequest) as caught:
        found({"type": "x" * 1_000_000})
    assert len(caught.value.message) < 500
