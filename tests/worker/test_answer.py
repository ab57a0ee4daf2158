from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.queue import Job
from tessera.worker.answer import Document, Stream

FINGERPRINT = 'vllm-"0.32"'
# Without its prompt, which more would be said of: see test_usage.
USAGE = {"completion_tokens": 2, "total_tokens": 5}
DONE = b"data: [DONE]\n\n"
OUT_OF_VOCABULARY = {
    "message": "Token id 9 is out of vocabulary",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}


def job(*, hide_usage: bool = False) -> Job:
    return Job("j", "m", "/v1/chat/completions", b'{"messages":[]}', 1, hide_usage)


def event(content: Any) -> bytes:
    """As vLLM writes chunks."""
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def chunk(text: str, *, finish: str | None = None, **more: Any) -> bytes:
    return event({"id": "x", "choices": [{"delta": {"content": text}, "finish_reason": finish}], **more})


def error_event(error: dict[str, Any]) -> bytes:
    """As vLLM writes errors."""
    return f"data: {json.dumps({'error': error})}\n\n".encode()


def passed(stream: Stream, *writes: bytes) -> bytes:
    return b"".join(map(stream.feed, writes)) + stream.rest()


USAGE_EVENT = event({"id": "x", "choices": [], "usage": USAGE, "system_fingerprint": FINGERPRINT})


@dataclass(frozen=True)
class Said:
    """What the engine writes, and what of it goes on where the usage is hidden."""

    written: bytes
    seen: bytes
    seen_hidden: bytes
    usage: bool = False


def as_it_is(written: bytes) -> Said:
    return Said(written, written, written)


def _finished(text: str) -> Said:
    stamped = chunk(text, finish="stop", system_fingerprint=FINGERPRINT)
    written = chunk(text, finish="stop")
    return Said(written, written, stamped)


TEXT = st.text(max_size=12) | st.sampled_from(
    ['"choices":[]', '"choices":[{', '"usage":{', '"error":{}', "[DONE]", "\n\n", "\r\n"]
)
# Fields of the same names, where they mean something else.
LOOKALIKES = {"choices": [], "usage": {}, "error": {"message": "x"}}
SPACED = USAGE_EVENT.replace(b":[]", b": []")
SAID = st.one_of(
    st.builds(lambda text: as_it_is(chunk(text)), TEXT),
    st.builds(lambda text: as_it_is(chunk(text, usage=USAGE)), TEXT),
    st.builds(lambda text: as_it_is(chunk(text, kv_transfer_params=LOOKALIKES)), TEXT),
    st.builds(lambda text: as_it_is(chunk(text).replace(b"\n", b"\r\n")), TEXT),
    st.builds(lambda text: as_it_is(b": comment\n" + chunk(text)), TEXT),
    st.builds(lambda text: as_it_is(event({"type": "response.delta", "delta": text})), TEXT),
    st.builds(_finished, TEXT),
    st.sampled_from(
        [
            Said(b": keep-alive\n\n", b"", b""),
            Said(USAGE_EVENT, USAGE_EVENT, b"", usage=True),
            Said(SPACED, SPACED, b"", usage=True),
        ]
    ),
)


@given(
    st.lists(SAID),
    st.booleans(),
    st.lists(st.integers(0, 3000)),
    st.sampled_from([b"", DONE, DONE.replace(b"\n", b"\r\n")]),
)
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
def test_a_client_gets_what_vllm_would_have_sent_it_wherever_the_writes_are_cut(
    said: list[Said], hide: bool, cuts: list[int], done: bytes
) -> None:
    written = b"".join(s.written for s in said) + done
    places = sorted({min(cut, len(written)) for cut in cuts})
    writes = [written[a:b] for a, b in zip([0, *places], [*places, len(written)], strict=True)]
    stream = Stream(job(hide_usage=hide), FINGERPRINT)
    assert passed(stream, *writes) == b"".join(s.seen_hidden if hide else s.seen for s in said) + done
    assert stream.usage == (USAGE if any(s.usage for s in said) else {})
    assert stream.error is None


@pytest.mark.parametrize("hide", [False, True])
def test_a_usage_event_that_shares_a_write_takes_nothing_with_it(hide: bool) -> None:
    stream = Stream(job(hide_usage=hide), None)
    expected = chunk("a") + chunk("b") + (b"" if hide else USAGE_EVENT) + DONE
    assert passed(stream, chunk("a") + chunk("b") + USAGE_EVENT + DONE) == expected
    assert stream.usage == USAGE


def test_the_fingerprint_of_a_hidden_usage_event_stands_in_the_last_chunk_of_each_choice() -> None:
    stream = Stream(job(hide_usage=True), FINGERPRINT)
    text = passed(stream, chunk("a"), chunk("b", finish="stop"), chunk("c", finish="length"), USAGE_EVENT, DONE)
    chunks = [json.loads(line.removeprefix("data: ")) for line in text.decode().split("\n\n")[:-2]]
    assert [c.get("system_fingerprint") for c in chunks] == [None, FINGERPRINT, FINGERPRINT]


def test_a_fingerprint_that_is_there_already_is_not_repeated() -> None:
    stream = Stream(job(hide_usage=True), FINGERPRINT)
    whole = event({"system_fingerprint": "f", "choices": [{"text": "a", "finish_reason": "stop", "token_ids": []}]})
    assert passed(stream, whole) == whole


def test_an_error_before_anything_else_is_the_whole_answer() -> None:
    stream = Stream(job(), None)
    assert passed(stream, b": keep-alive\n\n", error_event(OUT_OF_VOCABULARY), chunk("late"), DONE) == b""
    assert not stream.begun
    assert stream.error is not None
    assert (stream.error.status, stream.error.code) == (400, "invalid_value")


@pytest.mark.parametrize("together", [False, True])
def test_an_error_in_the_middle_is_an_event_in_the_servers_terms(together: bool) -> None:
    stream = Stream(job(), None)
    writes = [chunk("a"), error_event({**OUT_OF_VOCABULARY, "code": 500}), DONE]
    text = passed(stream, b"".join(writes)) if together else passed(stream, *writes)
    first, error, done, end = text.split(b"\n\n")
    assert (first + b"\n\n", done + b"\n\n", end) == (chunk("a"), DONE, b"")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "engine_error"
    assert stream.begun
    assert stream.error is not None


def test_nothing_is_held_back_but_the_last_event() -> None:
    stream = Stream(job(), None)
    assert stream.feed(chunk("a")) == chunk("a")
    assert stream.feed(DONE) == b""
    assert stream.rest() == DONE


def test_an_event_that_is_cut_short_goes_on_with_the_end() -> None:
    stream = Stream(job(), None)
    assert stream.feed(chunk("a")[:-1]) == b""
    assert stream.rest() == chunk("a")[:-1]
    assert stream.begun


def test_a_document_goes_on_whole() -> None:
    document = Document(200, job())
    assert document.feed(b'{"usage":') + document.feed(b'{"completion_tokens":2}}') == b""
    assert document.rest() == b'{"usage":{"completion_tokens":2}}'
    assert document.usage == {"completion_tokens": 2}
    assert document.error is None


def test_a_document_with_an_errors_status_is_the_error() -> None:
    document = Document(400, job())
    document.feed(json.dumps({"error": OUT_OF_VOCABULARY}).encode())
    assert document.rest() == b""
    assert not document.begun
    assert document.error is not None
    assert document.error.code == "invalid_value"
