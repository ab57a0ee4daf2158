from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.worker.continuation import Continuation, Mismatch


def event(text: str, *, index: int = 0, created: int = 1, **fields: Any) -> bytes:
    choice = {"index": index, "delta": {"content": text}}
    content = {"id": "a", "created": created, "choices": [choice], **fields}
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def tool_event(identity: str, created: int = 1) -> bytes:
    call = {"index": 0, "id": identity, "function": {"name": "look"}}
    content = {"created": created, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
    return b"data: " + json.dumps(content).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


@given(texts=st.lists(st.text(max_size=5), min_size=1, max_size=8), data=st.data())
def test_what_was_written_is_not_written_again_and_what_follows_has_the_first_ones_time(
    texts: list[str], data: st.DataObject
) -> None:
    before = [event(text) for text in texts]
    known = data.draw(st.integers(1, len(texts)))
    again = b"".join([*(event(text, created=2) for text in texts), DONE])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(again)), max_size=4)))
    continuation = Continuation(b"".join(before[:known]))
    pieces = [again[i:j] for i, j in zip([0, *cuts], [*cuts, len(again)], strict=True)]
    passed = b"".join([continuation.feed(piece) for piece in pieces])
    assert passed + continuation.rest(b"") == b"".join(before[known:]) + DONE
    assert continuation.caught_up


def test_choices_may_come_in_another_order() -> None:
    continuation = Continuation(event("a", index=0) + event("b", index=1))
    assert continuation.feed(event("b", index=1) + event("c", index=1)) == event("c", index=1)
    assert continuation.feed(event("a", index=0)) == b""
    assert continuation.caught_up


def test_what_was_cached_may_differ_and_what_was_counted_may_not() -> None:
    def usage(prompt: int, cached: int) -> bytes:
        details = {"cached_tokens": cached, "image_tokens": 4}
        return event("", usage={"prompt_tokens": prompt, "prompt_tokens_details": details})

    assert Continuation(usage(9, 0)).feed(usage(9, 8) + DONE) == DONE
    with pytest.raises(Mismatch):
        Continuation(usage(9, 0)).feed(usage(8, 0))


def test_ids_of_tool_calls_and_what_names_the_engine_may_differ() -> None:
    continuation = Continuation(tool_event("call-1") + event("x", system_fingerprint="one"))
    assert continuation.rest(tool_event("call-2", 5) + event("x", created=5, system_fingerprint="two")) == b""


@pytest.mark.parametrize(
    "again",
    [event("a") + event("other"), event("a"), DONE, event("a", index=1)],
    ids=["differs", "short", "end", "index"],
)
def test_another_stream_is_not_taken_for_the_same(again: bytes) -> None:
    continuation = Continuation(event("a") + event("b"))
    with pytest.raises(Mismatch):
        continuation.rest(again)


def test_a_reply_that_breaks_off_inside_an_event_cannot_be_gone_on_with() -> None:
    with pytest.raises(Mismatch, match="inside an event"):
        Continuation(event("a")[:-3])


@pytest.mark.parametrize("odd", [b"data: [1]\n\n", b"data: no json\n\n", b": a comment\n\n"])
def test_an_event_of_any_shape_is_compared(odd: bytes) -> None:
    assert Continuation(odd).rest(odd + event("new")) == event("new")
