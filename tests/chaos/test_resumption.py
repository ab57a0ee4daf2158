"""A stream survives the worker that makes it: what the client gets is what it would have got without the death.

And whoever asks while there is no engine is answered by the next one.
"""

from __future__ import annotations

import json
import secrets
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.chaos.asking import ask
from tests.e2e.media import image_part, picture, text_part, user
from tests.polling import eventually_sync
from tests.stack import RunningStack
from tests.telemetry.collector import Collector, Told

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HEAL_S = 240
# Enough of each stream is there before the death, and enough is missing.
EVENTS_BEFORE = 6
TOKENS = 200
# Requests while there is no engine.
MEANWHILE = 4

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
    "texts and images in turn": chat(
        text_part("First:"),
        image_part(picture("green")),
        text_part("then:"),
        image_part(picture("blue")),
        text_part("?"),
    ),
    "three choices": chat(n=3, temperature=0.7, top_k=1),
    "a stop string": chat(stop=["never said by this model"]),
    "tools": chat(tools=[TOOL], tool_choice="required", ignore_eos=False),
    "a JSON schema": chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, ignore_eos=False
    ),
    "two prompts": ("/v1/completions", {"prompt": ["Hello", "The cat sat"], "ignore_eos": True}),
    "echo": ("/v1/completions", {"prompt": "The cat sat", "echo": True, "logprobs": 1, "ignore_eos": True}),
}
# The request whose spans are looked at.
TRACED = "texts and images in turn"

Streams = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Interrupted:
    """Attributes:
    victim: what died in the middle of all streams.
    core: the engine core that has died, or whose worker has.
    undisturbed: what they are without that, by kind.
    joined: what clients got.
    meanwhile: the statuses of requests that were sent while there was no engine.
    trace: of the request of kind `TRACED`, whose client's own span is `parent`.
    """

    victim: str
    core: psutil.Process
    undisturbed: Streams
    joined: Streams
    meanwhile: list[int]
    trace: str
    parent: str


def stream(
    stack: RunningStack, kind: str, on_event: Callable[[], None] = lambda: None, **headers: str
) -> list[dict[str, Any]]:
    """The events of a greedy answer, which must end with ``[DONE]``."""
    path, fields = KINDS[kind]
    body = {"model": stack.model, "stream": True, "temperature": 0, "max_tokens": TOKENS, **fields}
    body["stream_options"] = {"include_usage": True}
    message = urllib.request.Request(stack.url + path, json.dumps(body).encode(), headers)
    message.add_header("Content-Type", "application/json")
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


def killed_in_the_middle(stack: RunningStack, kill: Callable[[], None], traceparent: str) -> tuple[Streams, list[int]]:
    """Have all kinds of streams under way, kill something once each has begun, and read them to their ends.

    Also returns the statuses of requests that were sent after the death.
    """
    barrier = threading.Barrier(len(KINDS) + 1)

    def read(kind: str) -> list[dict[str, Any]]:
        seen = 0

        def count() -> None:
            nonlocal seen
            seen += 1
            if seen == EVENTS_BEFORE:
                barrier.wait(60)

        return stream(stack, kind, count, **({"traceparent": traceparent} if kind == TRACED else {}))

    with ThreadPoolExecutor(len(KINDS) + MEANWHILE) as pool:
        running = {kind: pool.submit(read, kind) for kind in KINDS}
        barrier.wait(60)
        kill()
        waiting = [pool.submit(ask, stack) for _ in range(MEANWHILE)]
        return {kind: future.result() for kind, future in running.items()}, [w.result()[0] for w in waiting]


@pytest.fixture(scope="module", params=["engine core", "replica"])
def interrupted(stack: RunningStack, request: pytest.FixtureRequest) -> Interrupted:
    undisturbed = {kind: stream(stack, kind) for kind in KINDS}
    assert len(tokens(told(undisturbed["log-probabilities"])[0])) == TOKENS
    resumed_before = stack.metric("tessera_streams_resumed_total")
    core, trace, parent = stack.engine_core(), secrets.token_hex(16), secrets.token_hex(8)
    victim = core if request.param == "engine core" else core.parent()
    joined, meanwhile = killed_in_the_middle(stack, victim.kill, f"00-{trace}-{parent}-01")
    assert stack.metric("tessera_streams_resumed_total") - resumed_before >= len(KINDS) / 2, "too few were interrupted"
    return Interrupted(request.param, core, undisturbed, joined, meanwhile, trace, parent)


def test_a_stream_goes_on_after_its_worker_died(interrupted: Interrupted) -> None:
    for kind, events in interrupted.joined.items():
        undisturbed = interrupted.undisturbed[kind]
        assert len({event["id"] for event in events}) == 1, kind
        assert len({event["created"] for event in events}) == 1, kind
        said, expected = told(events), told(undisturbed)
        assert {i: text(c) for i, c in said.items()} == {i: text(c) for i, c in expected.items()}, kind
        assert {i: tokens(c) for i, c in said.items()} == {i: tokens(c) for i, c in expected.items()}, kind
        assert {i: c[-1]["finish_reason"] for i, c in said.items()} == {
            i: c[-1]["finish_reason"] for i, c in expected.items()
        }, kind
        for counted in ("prompt_tokens", "completion_tokens"):
            assert events[-1]["usage"][counted] == undisturbed[-1]["usage"][counted], kind


def test_requests_that_are_sent_meanwhile_are_answered(stack: RunningStack, interrupted: Interrupted) -> None:
    assert interrupted.meanwhile == [200] * MEANWHILE
    assert stack.ready()
    assert stack.engine_core() != interrupted.core
    eventually_sync(lambda: not interrupted.core.is_running(), "the engine core of the dead worker gone")


def test_one_trace_tells_of_both_workers_and_of_the_engine(
    stack: RunningStack, interrupted: Interrupted, stack_traces: Collector
) -> None:
    def spans(name: str) -> list[Told]:
        return [span for span in stack_traces.of(interrupted.trace) if span.name == name]

    def all_told() -> bool:
        # Each process tells its own: the first worker's may be there long before the second's.
        attempts = {span.attributes["tessera.attempt"] for span in spans("worker")}
        return bool(spans("POST /v1/chat/completions") and spans("llm_request")) and 2 in attempts

    eventually_sync(all_told, "the last of all is told")
    [root], [engine] = spans("POST /v1/chat/completions"), spans("llm_request")
    assert (root.service, root.kind, root.parent) == ("tessera-gateway", "SERVER", interrupted.parent)
    known = {"http.response.status_code": 200, "tessera.resumed": True, "tessera.attempts": 2}
    assert known.items() <= root.attributes.items()
    inner = [span for span in stack_traces.of(interrupted.trace) if span not in (root, engine)]
    assert {span.parent for span in inner} == {root.id}
    of_gateway = [span.name for span in inner if span.service == "tessera-gateway"]
    assert of_gateway == ["body", "media", "enqueue"]
    *earlier, last = spans("worker")
    # Who is killed tells nothing of its end. Who loses its engine does, unless its process ends in the same moment.
    told_errors = [span.error for span in earlier]
    assert told_errors == [] or (interrupted.victim, told_errors) == ("engine core", ["EngineDead"])
    assert (last.service, last.kind, last.error) == ("tessera-worker", "CONSUMER", None)
    assert last.attributes["tessera.worker"] not in {span.attributes["tessera.worker"] for span in earlier}
    assert last.attributes["tessera.attempt"] == spans("queue")[-1].attributes["tessera.attempt"] == 2
    assert last.attributes["tessera.resumed_at"] > 0
    assert (engine.service, engine.parent) == ("tessera-engine", last.id)
    assert 0 < engine.attributes["gen_ai.usage.completion_tokens"] < TOKENS, "those that it made itself"
    for parent, child in [*((root, span) for span in inner), (last, engine)]:
        # Times of the queue are Redis', to the millisecond.
        assert parent.start_ns - 5_000_000 <= child.start_ns <= child.end_ns <= parent.end_ns + 5_000_000, child
    took_s = (engine.end_ns - engine.start_ns) / 1e9
    for name, value in engine.attributes.items():
        assert not name.startswith("gen_ai.latency.") or 0 <= value <= took_s, name
    for name in ("prefill", "decode"):
        assert 0 <= stack.engine_metric(f"vllm:request_{name}_time_seconds_sum") < 600
