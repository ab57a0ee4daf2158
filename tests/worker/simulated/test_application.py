from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from starlette.types import Message

from tessera.media import Modality, pack
from tessera.media.item import describe
from tessera.settings import Settings
from tessera.worker.simulated.codec import SimulatedCodec
from tessera.worker.simulated.scheduler import Scheduler
from tessera.worker.transcript import Transcript, current
from tests.circles import circles
from tests.polling import eventually
from tests.worker.simulated.conftest import CHAT, Client

COMPLETIONS = "/v1/completions"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def numbers(text: str) -> list[int]:
    return [int(token.split(".")[1]) for token in text.split()]


def names(text: str) -> set[str]:
    return {token.split(".")[0] for token in text.split()}


async def test_each_token_says_whose_it_is_and_which_one(client: Client) -> None:
    document = await client.document(n=2, max_tokens=12)
    first, second = (choice["message"]["content"] for choice in document["choices"])
    assert numbers(first) == numbers(second) == list(range(12))
    assert len(names(first)) == len(names(second)) == 1
    assert names(first) != names(second)
    other = await client.document(max_tokens=1, messages=[{"role": "user", "content": "Hello!"}])
    assert names(other["choices"][0]["message"]["content"]).isdisjoint(names(first) | names(second))


async def test_a_stream_says_what_the_whole_answer_says(client: Client) -> None:
    fields = {"n": 2, "max_tokens": 9, "logprobs": True, "top_logprobs": 2}
    whole = await client.document(**fields)
    *events, last = await client.events(stream_options={"include_usage": True}, **fields)
    for choice in whole["choices"]:
        chunks = [e["choices"][0] for e in events if e["choices"][0]["index"] == choice["index"]]
        assert "".join(c["delta"]["content"] for c in chunks) == choice["message"]["content"]
        assert [x for c in chunks if c["logprobs"] for x in c["logprobs"]["content"]] == choice["logprobs"]["content"]
        assert chunks[-1]["finish_reason"] == choice["finish_reason"] == "length"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 18


async def test_the_same_request_gets_the_same_answer(client: Client) -> None:
    streams = [await client.events(n=2, max_tokens=5) for _ in range(2)]
    for events in streams:
        for event in events:
            event.pop("created")
    assert streams[0] == streams[1]


async def test_an_answer_ends_by_itself(client: Client) -> None:
    [choice] = (await client.document())["choices"]
    assert choice["finish_reason"] == "stop"
    assert len(numbers(choice["message"]["content"])) == Settings().simulated_answer_tokens
    [longer] = (await client.document(ignore_eos=True, max_tokens=200))["choices"]
    assert (len(numbers(longer["message"]["content"])), longer["finish_reason"]) == (200, "length")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_ends_it_wherever_tokens_begin(client: Client, stream: bool) -> None:
    said = (await client.document(COMPLETIONS, prompt="a", max_tokens=5))["choices"][0]["text"]
    stop = said[said.index(".3") - 2 : said.index(".3") + 4]
    asked = {"prompt": "a", "stop": ["nothing of it", stop]}
    if stream:
        choices = [event["choices"][0] for event in await client.events(COMPLETIONS, **asked)]
    else:
        choices = (await client.document(COMPLETIONS, **asked))["choices"]
    assert "".join(choice["text"] for choice in choices) == said[: said.index(stop)]
    assert (choices[-1]["finish_reason"], choices[-1]["stop_reason"]) == ("stop", stop)
    [kept] = (await client.document(COMPLETIONS, include_stop_str_in_output=True, **asked))["choices"]
    assert kept["text"] == said[: said.index(stop) + len(stop)]


async def test_several_prompts_and_answers_to_each_with_echo(client: Client) -> None:
    document = await client.document(COMPLETIONS, prompt=["first", "second"], n=2, echo=True, max_tokens=2)
    texts = [choice["text"] for choice in document["choices"]]
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2, 3]
    assert [text.split(" ")[0] for text in texts] == ["first", "first", "second", "second"]
    assert len({text.split(" ")[1] for text in texts}) == 4
    assert document["usage"]["prompt_tokens"] == 4, "each prompt counts once"


async def test_prompts_in_tokens(client: Client) -> None:
    document = await client.document(COMPLETIONS, prompt=[[1, 2, 3], [4]], max_tokens=1)
    assert document["usage"]["prompt_tokens"] == 4
    assert (await client.post(COMPLETIONS, prompt=[-1])).status_code == 400


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look"}}])
async def test_a_call_has_arguments_in_json(client: Client, choice: object) -> None:
    asked = {"tools": [TOOL], "tool_choice": choice}
    [whole] = (await client.document(**asked))["choices"]
    [call] = whole["message"]["tool_calls"]
    assert whole["finish_reason"] == "tool_calls"
    assert numbers(json.loads(call["function"]["arguments"])["said"])[0] == 0
    deltas = [event["choices"][0]["delta"] for event in await client.events(**asked)]
    calls = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["name"] == "look"
    assert "".join(c.get("arguments", "") for c in calls) == call["function"]["arguments"]


async def test_tools_that_need_not_be_called_are_not(client: Client) -> None:
    [choice] = (await client.document(tools=[TOOL], max_tokens=1))["choices"]
    assert choice["message"]["content"]


async def test_an_image_counts_by_its_size_and_changes_the_answer(client: Client) -> None:
    said = set()
    for shade in (0, 255):
        pixels = np.full((56, 84, 3), shade, np.uint8)
        payload = pack(pixels, Modality.IMAGE, {})
        item = describe(payload)
        await client.store.put(item.digest, payload, "holder")
        part = {"type": "image_url", "image_url": {"url": item.url}}
        document = await client.document(messages=[{"role": "user", "content": [part]}], max_tokens=1)
        assert document["usage"]["prompt_tokens"] == 2 * 3 + 2, "two rows of three, behind six letters"
        said |= names(document["choices"][0]["message"]["content"])
    assert len(said) == 2


async def test_an_image_that_has_left_the_store(client: Client) -> None:
    part = {"type": "image_url", "image_url": {"url": "tessera-media:" + "0" * 64}}
    response = await client.post(messages=[{"role": "user", "content": [part]}])
    assert response.status_code == 503
    assert "expired" in response.json()["error"]["message"]


async def test_a_load_balancer_finds_out_what_it_serves(client: Client) -> None:
    assert (await client.get("/health")).status_code == 200
    [model] = (await client.get("/v1/models")).json()["data"]
    assert (model["id"], model["object"], model["max_model_len"]) == (Settings().resolved_model_name(), "model", 32_768)
    assert (await client.get(CHAT)).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/embeddings", {"input": "a"}, 404),
        (CHAT, {"messages": []}, 400),
        (CHAT, {"n": 0}, 400),
        (CHAT, {"simulate": {"explode": 1}}, 400),
        (COMPLETIONS, {"prompt": "x" * 4 * 40_000}, 400),
        (CHAT, {"simulate": {"fail_after_tokens": 2}}, 500),
    ],
)
async def test_what_cannot_be_answered(client: Client, path: str, body: dict[str, object], status: int) -> None:
    response = await client.post(path, **body)
    assert response.status_code == status
    assert response.json()["error"]["message"]


async def test_a_stream_that_fails_ends_with_an_error(client: Client) -> None:
    *events, last = await client.events(simulate={"fail_after_tokens": 3})
    assert last["error"]["code"] == 500
    assert numbers("".join(event["choices"][0]["delta"]["content"] for event in events)) == [0, 1, 2]


async def test_a_request_whose_client_leaves_frees_its_seat(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = []
    monkeypatch.setattr(Scheduler, "drop", lambda self, sequence: dropped.append(sequence))
    begun = asyncio.Event()
    body = {"messages": [{"role": "user", "content": "a"}], "stream": True, "ignore_eos": True}
    messages: list[Message] = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            begun.set()

    await client.engine.app({"type": "http", "method": "POST", "path": CHAT, "headers": []}, receive, send)
    await eventually(lambda: len(dropped) == 1, "its sequence is dropped")


async def test_what_is_recorded_is_told_again_and_not_made_again(client: Client) -> None:
    asked = {"n": 2, "max_tokens": 8, "stream_options": {"include_usage": True}}
    codec = SimulatedCodec()
    current.set(Transcript(codec))
    whole = await client.events(**asked)
    record = current.get()
    assert record is not None
    takes = [codec.pack(name, steps) for name, steps in codec.unpack([record.drain()])]
    assert len(takes) == 16
    for cut in (0, 1, 7, 15, 16):
        transcript = Transcript(codec, takes[:cut])
        current.set(transcript)
        again = await client.events(**asked)
        assert len(list(codec.unpack([transcript.drain()]))) == 16 - cut, "only the rest is new"
        for index in range(2):
            assert told(again, index) == told(whole, index)
        assert again[-1]["usage"]["completion_tokens"] == 16


def told(events: list[dict[str, object]], index: int) -> list[object]:
    choices = [choice for event in events for choice in event["choices"]]  # type: ignore[attr-defined]
    return [choice for choice in choices if choice["index"] == index]


async def typed_events(client: Client, path: str, **body: Any) -> list[dict[str, Any]]:
    response = await client.post(path, stream=True, **body)
    parts = [event.partition("\ndata: ") for event in response.text.split("\n\n") if event]
    events = [json.loads(data) for _, _, data in parts]
    assert [name for name, _, _ in parts] == [f"event: {event['type']}" for event in events]
    return events


async def test_responses_and_messages_are_told_as_in_chats(client: Client) -> None:
    chat = (await client.document(max_tokens=6))["choices"][0]["message"]["content"]
    assert len(chat.split()) == 6
    asked = {"input": "Hello", "max_output_tokens": 6}
    whole = await client.document("/v1/responses", **asked)
    said = whole["output"][0]["content"][0]["text"]
    assert (len(said.split()), whole["usage"]["output_tokens"]) == (6, 6)
    events = await typed_events(client, "/v1/responses", **asked)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if event["type"].endswith(".delta")) == said
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == said
    message = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6}
    block = (await client.document("/v1/messages", **message))["content"][0]["text"]
    deltas = [event["delta"] for event in await typed_events(client, "/v1/messages", **message) if "delta" in event]
    assert "".join(delta.get("text", "") for delta in deltas) == block
    assert deltas[-1]["stop_reason"] == "max_tokens"


async def test_functions_are_called_there_too(client: Client) -> None:
    tool = {"name": "look", "type": "function"}
    called = await client.document("/v1/responses", input="Hello", tools=[tool], tool_choice="required")
    assert json.loads(called["output"][0]["arguments"])["said"]
    message = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 500}
    used = await client.document("/v1/messages", tools=[tool], tool_choice={"type": "any"}, **message)
    assert (used["stop_reason"], used["content"][0]["name"]) == ("tool_use", "look")


async def test_requests_leave_nothing_to_pythons_collector(client: Client) -> None:
    async def ask() -> None:
        await client.document(n=2, max_tokens=3)
        await client.document(COMPLETIONS, prompt="a", max_tokens=3)
        await client.events(max_tokens=3)
        assert (await client.post(max_tokens=-1)).status_code == 400

    await ask()
    with circles() as found:
        for _ in range(3):
            await ask()
    assert not found
