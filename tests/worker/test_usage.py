"""The tokens of a prompt by modality sum to all of them, and those of parts to their modality's."""

from __future__ import annotations

import json

import pytest

from tessera.queue import Job, PartTokens
from tessera.worker.answer import Document, Stream
from tessera.worker.usage import detailed

HEARD = b'{"mm_processor_kwargs":{"use_audio_in_video":true}}'


def job(body: bytes = b"{}", *parts: PartTokens, hide_usage: bool = False) -> Job:
    return Job("j", "m", "/v1/chat/completions", body, hide_usage=hide_usage, parts=parts)


def usage(prompt: int, **media: int) -> dict:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": 1,
        "prompt_tokens_details": {"multimodal_tokens": media or None},
    }


def split(told: dict) -> tuple[int, ...]:
    details = told["prompt_tokens_details"]
    numbers = tuple(details[f"{name}_tokens"] for name in ("text", "image", "video", "audio"))
    assert sum(numbers) == told["prompt_tokens"]
    return numbers


@pytest.mark.parametrize(
    ("given", "body", "wanted"),
    [
        (usage(9), b"{}", (9, 0, 0, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, b"{}", (9, 0, 0, 0)),
        ({"prompt_tokens": 9}, b"{}", (9, 0, 0, 0)),
        (usage(100, image=64, audio=25), b"{}", (11, 64, 0, 25)),
        (usage(100, video=60, audio=70), HEARD, (30, 0, 60, 10)),
        (usage(200, video=60, audio=70), b'{"mm_processor_kwargs":{"use_audio_in_video":false}}', (70, 0, 60, 70)),
    ],
)
def test_the_sum(given, body, wanted):
    told = detailed(given, job(body))
    assert split(told) == wanted
    assert told["prompt_tokens_details"].items() >= (given.get("prompt_tokens_details") or {}).items()


@pytest.mark.parametrize("given", [{}, {"prompt_tokens": None}, usage(5, image=6), usage(5, smell=2)])
def test_what_does_not_add_up_is_left_alone(given):
    assert detailed(given, job()) is given


@pytest.mark.parametrize(
    ("planned", "wanted"),
    [([4, 6], [4, 6]), ([4, 7], [None, None]), ([4, None], [None, None]), ([None], [10]), ([99], [10])],
)
def test_parts_sum_too_or_say_that_they_are_not_known(planned, wanted):
    parts = [PartTokens(f"messages[0].content[{i}]", "image", tokens) for i, tokens in enumerate(planned)]
    told = detailed(usage(12, image=10), job(b"{}", *parts))["prompt_tokens_details"]["parts"]
    assert [part["tokens"] for part in told] == wanted
    assert told[0] == {"path": "messages[0].content[0]", "modality": "image", "tokens": wanted[0]}


def test_documents_keep_all_else_to_the_digit():
    written = b'{"id":"x","choices":[{"logprob":-0.10000000000000000555,"usage":1}],"usage":%s,"after":1.0}'
    given = usage(12, image=10)
    document = Document(200, job())
    document.feed(written % json.dumps(given, separators=(",", ":")).encode())
    body = document.rest()
    assert body == written % json.dumps(document.usage, separators=(",", ":")).encode()
    assert split(document.usage) == (2, 10, 0, 0)
    spaced = Document(200, job())
    spaced.feed(json.dumps({"usage": given}).encode())
    assert json.loads(spaced.rest()) == {"usage": spaced.usage}


@pytest.mark.parametrize("hide", [False, True])
def test_streams(hide):
    stream = Stream(job(hide_usage=hide), None)
    chunk = b'data: {"id":"x","choices":[],"usage":%s}\n\n' % json.dumps(usage(12, image=10)).encode()
    passed = stream.feed(b'data: {"choices":[{"delta":{}}]}\n\n') + stream.feed(chunk) + stream.rest()
    assert split(stream.usage) == (2, 10, 0, 0)
    assert (json.dumps(stream.usage, separators=(",", ":")).encode() in passed) is not hide
