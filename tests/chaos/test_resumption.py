"""A stream survives the worker that makes it: what the client gets is what it would have got without the death."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.media import image_part, text_part, user
from tests.stack import RunningStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HEAL_S = 240
# Enough of each stream is there before the death, and enough is missing.
EVENTS_BEFORE = 6
TOKENS = 200

NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 60, "maxItems": 60}
SCHEMA = {"type": "object", "properties": {"n": NUMBERS}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "count", "parameters": SCHEMA}}


def chat(*parts: dict[str, Any], **options: Any) -> tuple[str, dict[str, Any]]:
    messages = user(*(parts or (text_part("Tell me a long story about the sea."),)))
    return "/v1/chat/completions", {"messages": messages, "ignore_eos": True, **options}


KINDS = {
    "plain": chat(),
    "penalties": chat(frequency_penalty=0.6, presence_penalty=0.4, repetition_penalty=1.1),
    "log-probabilities": chat(logprobs=True, top_logprobs=2),
    "an image": chat(image_part(), text_part("What is this?")),
    "three choices": chat(n=3, temperature=0.7, top_k=1),
    "a stop string": chat(stop=["never said by this model"]),
    "tools": chat(tools=[TOOL], tool_choice="required", ignore_eos=False),
    "a JSON schema": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, ignore_eos=False
    ),
    "two prompts": ("/v1/completions", {"prompt": ["Hello", "The cat sat"], "ignore_eos": True}),
    "echo": ("/v1/completions", {"prompt": "The cat sat", "echo": True, "logprobs": 1, "ignore_eos": True}),
}


def stream(stack: RunningStack, kind: str, on_event: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """The events of a greedy answer, which must end with ``[DONE]``."""
    path, fields = KINDS[kind]
    body = {"model": stack.model, "stream": True, "temperature": 0, "max_tokens": TOKENS, **fields}
    body["stream_options"] = {"include_usage": True}
    message = urllib.request.Request(stack.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    events = []
    with urllib.request.urlopen(message, timeout=HEAL_S) as response:
        for data in _data(response):
            if data == "[DONE]":
                return events
            events.append(json.loads(data))
            on_event()
    raise AssertionError(f"the stream of {kind} broke off")


def _data(response: Any) -> Iterator[str]:
    for line in response:
        if line.startswith(b"data: "):
            yield line[len(b"data: ") :].decode().strip()


def told(events: list[dict[str, Any]]) -> dict[int, list[Any]]:
    """What each choice's events say, without what differs from one request to the next."""
    by_choice: dict[int, list[Any]] = {}
    for event in events:
        assert "error" not in event, event
        for choice in event["choices"]:
            for call in (choice.get("delta") or {}).get("tool_calls") or []:
                call.pop("id", None)
            by_choice.setdefault(choice["index"], []).append(choice)
    return by_choice


def text(choices: list[Any]) -> str:
    deltas = [choice.get("delta") or {"content": choice.get("text")} for choice in choices]
    calls = [call["function"].get("arguments") or "" for d in deltas for call in d.get("tool_calls") or []]
    return "".join([*(d.get("content") or "" for d in deltas), *calls])


def tokens(choices: list[Any]) -> list[str]:
    """Those with log-probabilities."""
    found = [choice.get("logprobs") or {} for choice in choices]
    return [t for f in found for t in f.get("tokens") or [entry["token"] for entry in f.get("content") or []]]


def killed_in_the_middle(stack: RunningStack, kill: Callable[[], None]) -> dict[str, list[dict[str, Any]]]:
    """Have all kinds of streams under way, kill something once each has begun, and read them to their ends."""
    barrier = threading.Barrier(len(KINDS) + 1)

    def read(kind: str) -> list[dict[str, Any]]:
        seen = 0

        def count() -> None:
            nonlocal seen
            seen += 1
            if seen == EVENTS_BEFORE:
                barrier.wait(60)

        return stream(stack, kind, count)

    with ThreadPoolExecutor(len(KINDS)) as pool:
        running = {kind: pool.submit(read, kind) for kind in KINDS}
        barrier.wait(60)
        kill()
        return {kind: future.result() for kind, future in running.items()}


@pytest.mark.parametrize("victim", ["engine core", "replica"])
def test_a_stream_goes_on_after_its_worker_died(stack: RunningStack, victim: str) -> None:
    undisturbed = {kind: stream(stack, kind) for kind in KINDS}
    assert len(tokens(told(undisturbed["log-probabilities"])[0])) == TOKENS
    resumed_before = stack.metric("tessera_streams_resumed_total")
    core = stack.engine_core()
    joined = killed_in_the_middle(stack, (core if victim == "engine core" else core.parent()).kill)
    for kind, events in joined.items():
        assert len({event["id"] for event in events}) == 1, kind
        assert len({event["created"] for event in events}) == 1, kind
        said, expected = told(events), told(undisturbed[kind])
        assert {i: text(c) for i, c in said.items()} == {i: text(c) for i, c in expected.items()}, kind
        assert {i: tokens(c) for i, c in said.items()} == {i: tokens(c) for i, c in expected.items()}, kind
        assert {i: c[-1]["finish_reason"] for i, c in said.items()} == {
            i: c[-1]["finish_reason"] for i, c in expected.items()
        }, kind
        for counted in ("prompt_tokens", "completion_tokens"):
            assert events[-1]["usage"][counted] == undisturbed[kind][-1]["usage"][counted], kind
    assert stack.metric("tessera_streams_resumed_total") - resumed_before >= len(KINDS) / 2, "too few were interrupted"
