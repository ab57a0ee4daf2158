"""Streams of ``/v1/responses`` and ``/v1/messages`` on their way to the client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.queue import Job
from tessera.worker.answers import answer_of
from tessera.worker.continuation import Continuation
from tessera.worker.typed_stream import COHERE_EMBEDDINGS, MESSAGES, RESPONSES, TypedStream

ECHO = {"background": True, "created_at": 7}


def job(path: str = RESPONSES, echo: dict[str, Any] | None = None) -> Job:
    return Job("j", "m", path, b'{"messages":[]}', stream=True, echo=echo or {})


def event(kind: str, **content: Any) -> bytes:
    """As vLLM writes them."""
    told = json.dumps({**content, "type": kind}, separators=(",", ":"))
    return f"event: {kind}\ndata: {told}\n\n".encode()


def told_of(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.partition(b"\ndata: ")[2]) for event in stream.split(b"\n\n") if event]


def stream_of(path: str = RESPONSES, echo: dict[str, Any] | None = None) -> TypedStream:
    answer = answer_of(200, job(path, echo), None, streamed=True)
    assert isinstance(answer, TypedStream)
    return answer


def responses(run: str, *texts: str) -> list[bytes]:
    """What vLLM says; each run has ids of its own."""
    message, call = f"msg_{run * 32}", f"chatcmpl-tool-{run * 16}"
    response = {"id": "resp_j", "created_at": ord(run), "background": False, "usage": None}
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 2}
    item = {"id": f"fc_{run * 32}", "call_id": call, "type": "function_call"}
    return [
        event("response.created", response=response, sequence_number=0),
        event("response.output_item.added", item={"id": message}, sequence_number=1),
        *(event("response.output_text.delta", item_id=message, delta=text) for text in texts),
        event("response.output_item.done", item=item),
        event("response.completed", response={**response, "usage": usage, "output": [{"id": message}, item]}),
    ]


@given(texts=st.lists(st.text(max_size=9), max_size=5), data=st.data())
def test_all_that_vllm_says_goes_on_however_it_is_cut(texts: list[str], data: st.DataObject) -> None:
    whole = b"".join(responses("a", *texts))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    stream = stream_of(echo=ECHO)
    pieces = [whole[i:j] for i, j in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    before = b"".join([stream.feed(piece) for piece in pieces])
    assert b"response.completed" not in before, "the last event comes with the end"
    given, told = told_of(whole), told_of(before + stream.rest())
    assert [e["type"] for e in told] == [e["type"] for e in given]
    assert [e.get("delta") for e in told] == [e.get("delta") for e in given]
    for one in (told[0], told[-1]):
        assert ECHO.items() <= one["response"].items()
    [added] = {e["item"]["id"] for e in told if e["type"].endswith("added")}
    assert {e["item_id"] for e in told if "item_id" in e} <= {added}
    assert told[-1]["response"]["output"][0]["id"] == added
    assert told[-1]["response"]["output"][1] == told[-2]["item"]
    assert stream.usage["prompt_tokens"] == 9
    assert stream.usage["completion_tokens"] == 2
    assert stream.usage["prompt_tokens_details"] == {"cached_tokens": 4}


def test_another_worker_goes_on_with_the_same_items() -> None:
    first, second = stream_of(echo=ECHO), stream_of(echo=ECHO)
    written = first.feed(b"".join(responses("a", "x", "y")[:3]))
    continuation = Continuation(written)
    new = continuation.feed(second.feed(b"".join(responses("b", "x", "y")))) + continuation.rest(second.rest())
    item = told_of(written)[1]["item"]["id"]
    assert told_of(new)[0] == {"type": "response.output_text.delta", "item_id": item, "delta": "y"}


def test_text_that_looks_like_an_id_stays_as_it_is() -> None:
    text = '{"item_id":"msg_0123456789abcdef0123456789abcdef"}'
    [told] = told_of(stream_of().feed(event("response.output_text.delta", delta=text)))
    assert told["delta"] == text


def test_a_response_in_one_piece_says_what_the_gateway_saw_to() -> None:
    answer = answer_of(200, job(echo=ECHO), None, streamed=False)
    usage = {"input_tokens": 9, "output_tokens": 2}
    assert answer.feed(json.dumps({"id": "resp_j", "background": False, "usage": usage}).encode()) == b""
    assert json.loads(answer.rest()) == {"id": "resp_j", "usage": usage, **ECHO}
    assert answer.usage == {"prompt_tokens": 9, "completion_tokens": 2}


MESSAGE = [
    event("message_start", message={"id": "a", "usage": {"input_tokens": 9, "output_tokens": 0}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
    event("message_delta", delta={}, usage={"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 2}),
    event("message_stop"),
]


def test_a_message() -> None:
    stream = stream_of(MESSAGES)
    assert stream.feed(b"".join(MESSAGE)) == b"".join(MESSAGE[:-1])
    assert stream.rest() == MESSAGE[-1]
    details = {"cached_tokens": 4}
    assert stream.usage == {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": details}


def test_a_message_goes_on_whatever_is_cached_elsewhere() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look"}
    begun = [*MESSAGE[:1], event("content_block_start", index=0, content_block=call)]
    continuation = Continuation(b"".join(begun))
    usage = {"input_tokens": 1, "cache_read_input_tokens": 8, "output_tokens": 0}
    again = event("message_start", message={"id": "a", "usage": usage})
    again += event("content_block_start", index=0, content_block={**call, "id": "toolu_2"})
    assert continuation.feed(again + MESSAGE[2]) == MESSAGE[2]


ERROR = event("error", error={"type": "internal_error", "message": "CUDA error"})


def test_an_error_before_anything_is_the_answer() -> None:
    stream = stream_of(MESSAGES)
    assert (stream.feed(ERROR + MESSAGE[-1]), stream.rest()) == (b"", b"")
    assert stream.error is not None
    assert (stream.begun, stream.error.code) == (False, "engine_error")


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
def test_a_later_one_is_an_event_without_the_engines_reasons(path: str) -> None:
    stream = stream_of(path)
    begun = MESSAGE[0] if path == MESSAGES else responses("a")[0]
    failed = ERROR if path == MESSAGES else event("error", code="500", message="CUDA error", sequence_number=1)
    told = told_of(stream.feed(begun + failed) + stream.rest())[1]
    assert told["type"] == "error"
    assert "CUDA" not in json.dumps(told)
    assert stream.error is not None
    assert stream.error.code == "engine_error"


@pytest.mark.parametrize(
    ("billed", "prompt"),
    [({"input_tokens": 7, "image_tokens": 0}, 7), ({"input_tokens": 0, "image_tokens": 64}, 64), (None, None)],
)
def test_tokens_of_embeddings_as_cohere_has_them_are_counted(billed: dict[str, int] | None, prompt: int | None) -> None:
    made = json.dumps({"id": "embd-j", "embeddings": {"float": [[1.0]]}, "meta": {"billed_units": billed}}).encode()
    answer = answer_of(200, job(COHERE_EMBEDDINGS), None, streamed=False)
    answer.feed(made)
    assert answer.rest() == made
    assert answer.usage.get("prompt_tokens") == prompt
