"""The pages of a PDF, read by a model, as the clients of OpenAI and Anthropic send it."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import anthropic
import openai
import pytest
from PIL import Image

from loadtests.fuzz.pdf import pdf, square, words
from models.nano.example import words as said
from tests.e2e.media import data_url, text_part, user
from tests.stack import RunningStack, request

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
ORDINALS = ("first", "second")
COLOURS = {"red": (1, 0, 0), "blue": (0, 0, 1)}
# As large as the model's pictures are, and letters as high as it has learnt them.
BOX = (0, 0, 112, 112)


STORY = "Tell me a story of a boat."
TEXT = data_url("text/plain", STORY.encode())


def book(*colours: str) -> bytes:
    """A page for each colour, with a square of it."""
    return pdf([square(*COLOURS[colour], side=72) for colour in colours], box=BOX)


def square_of(colour: str) -> bytes:
    pixels = Image.new("RGB", (224, 224), "white")
    pixels.paste(colour, (40, 40, 184, 184))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    return buffer.getvalue()


def question(ordinal: str) -> str:
    return f"What colour is the object in the {ordinal} image?"


def chat_part(data: bytes) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": data_url("application/pdf", data)}}


def answered(client: openai.OpenAI, *parts: dict[str, Any]) -> list[str]:
    messages: Any = user(*parts)
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=32, temperature=0)
    return said(answer.choices[0].message.content or "")


@pytest.mark.parametrize("word", ["BOAT", "LIME", "TEN"])
def test_what_is_written_on_a_page_is_read(client: openai.OpenAI, word: str) -> None:
    page = pdf([words(word, size=19, at=(18, 46))], box=BOX)
    assert word.lower() in answered(client, chat_part(page), text_part("What does it say?"))


@pytest.mark.parametrize("colours", [("red", "blue"), ("blue", "red")])
def test_pages_keep_their_order(client: openai.OpenAI, colours: tuple[str, str]) -> None:
    for ordinal, colour in zip(ORDINALS, colours, strict=True):
        told = answered(client, chat_part(book(*colours)), text_part(question(ordinal)))
        assert [word for word in told if word in COLOURS] == [colour]
        parts = [chat_part(book(each)) for each in colours]
        told = answered(client, parts[0], text_part("And:"), parts[1], text_part(question(ordinal)))
        assert [word for word in told if word in COLOURS] == [colour]


def test_a_response_and_the_turn_after_it(client: openai.OpenAI) -> None:
    part = {"type": "input_file", "filename": "a.pdf", "file_data": data_url("application/pdf", book("red", "blue"))}
    content: Any = [part, {"type": "input_text", "text": question("first")}]
    asked: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_output_tokens": 32}
    first = client.responses.create(input=[{"role": "user", "content": content}], **asked)
    assert "red" in said(first.output_text)
    then = client.responses.create(input=question("second"), previous_response_id=first.id, **asked)
    assert "blue" in said(then.output_text)


def test_a_document_of_anthropics(claude: anthropic.Anthropic) -> None:
    data = base64.b64encode(book("red", "blue")).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    for ordinal, colour in (("first", "red"), ("second", "blue")):
        content: Any = [{"type": "document", "source": source}, {"type": "text", "text": question(ordinal)}]
        messages: Any = [{"role": "user", "content": content}]
        answer = claude.messages.create(model=MODEL, messages=messages, max_tokens=32, extra_body={"temperature": 0})
        [block] = answer.content
        assert block.type == "text"
        assert colour in said(block.text)


@pytest.mark.parametrize("colours", [("red", "blue"), ("blue", "red")])
def test_images_of_markdown_keep_their_order(client: openai.OpenAI, colours: tuple[str, str]) -> None:
    first, second = (data_url("image/png", square_of(colour)) for colour in colours)
    text = f"The first image: ![one]({first}) The second image: ![two]({second})"
    url = data_url("text/markdown", text.encode())
    part = {"type": "file", "file": {"filename": "a.md", "file_data": url}}
    for ordinal, colour in zip(ORDINALS, colours, strict=True):
        told = answered(client, part, text_part(question(ordinal)))
        assert [word for word in told if word in COLOURS] == [colour]


def test_a_text_is_what_it_says(client: openai.OpenAI) -> None:
    as_file: Any = user({"type": "file", "file": {"filename": "a.txt", "file_data": TEXT}})
    as_text: Any = user(text_part(STORY))
    asked: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 16}
    told, same = (client.chat.completions.create(messages=each, **asked) for each in (as_file, as_text))
    assert told.choices[0].message.content == same.choices[0].message.content
    assert told.usage is not None
    assert same.usage is not None
    assert told.usage.prompt_tokens == same.usage.prompt_tokens


def test_usage_counts_the_pages_as_was_planned(client: openai.OpenAI, stack: RunningStack) -> None:
    messages: Any = user(chat_part(book("red", "blue")), text_part("What?"))
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=1)
    _, _, told = request(f"{stack.url}/v1/estimate", {"model": MODEL, "messages": messages})
    estimate = json.loads(told)
    assert estimate["exact"]
    assert len(estimate["parts"]) == 2
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == estimate["prompt_tokens"]
