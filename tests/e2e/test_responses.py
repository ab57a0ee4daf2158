"""OpenAI's responses against the real server, with OpenAI's own client."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest

from tests.e2e.media import audio_part, image_part, picture, text_part, user, video_part
from tests.stack import RunningStack

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"at": {"type": "string", "maxLength": 5}}, "required": ["at"]},
    "strict": True,
}
# What differs from one answer to the next, and what the server adds.
_OWN = ("id", "created_at", "store")
# What the engine had in its cache differs from one time to the next.
_CACHE = ("cached_tokens", "cache_write_tokens")


def asking(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def image(data: bytes | None = None) -> dict[str, Any]:
    url = image_part(data)["image_url"]["url"]
    return {"type": "input_image", "image_url": url, "detail": "auto"}


def text(said: str) -> dict[str, Any]:
    return {"type": "input_text", "text": said}


INPUTS: dict[str, Any] = {
    "string": "Tell me a story.",
    "image": asking(text("What is this?"), image()),
    "photograph": asking(image(picture("green", (2000, 1500), "JPEG")), text("What is this?")),
    "turns": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Who are you?"},
    ],
}


def canonical(value: Any) -> Any:
    """Without ids and times."""
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items() if k not in (*_OWN, "item_id", "call_id", *_CACHE)}
    return [canonical(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", INPUTS)
def test_same_answer_as_vllms(stack: RunningStack, name: str, *, stream: bool) -> None:
    body = {
        "model": MODEL, "input": INPUTS[name], "max_output_tokens": 12, "temperature": 0, "ignore_eos": True,
        "stream": stream, "include": ["message.output_text.logprobs"], "top_logprobs": 1,
    }  # fmt: skip
    told = []
    for url in (stack.url, stack.direct_url):
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            if stream:
                events = client.responses.with_raw_response.create(**_spelled(body)).http_response.read()
                told.append(joined([canonical(_json(event)) for event in events.decode().split("\n\n") if event]))
            else:
                raw = client.responses.with_raw_response.create(**_spelled(body)).http_response.read()
                told.append(canonical(_json(raw.decode())))
    assert told[0] == told[1]


def joined(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With neighbouring pieces of the text in one, and so without numbers: where they are cut is a matter of time."""
    together: list[dict[str, Any]] = []
    for event in events:
        event.pop("sequence_number")
        if together and event["type"] == together[-1]["type"] == "response.output_text.delta":
            together[-1]["delta"] += event["delta"]
            together[-1]["logprobs"] += event["logprobs"]
        else:
            together.append(event)
    return together


def _spelled(body: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in body.items() if k != "ignore_eos"}, "extra_body": {"ignore_eos": True}}


def _json(text: str) -> Any:
    return json.loads(text.partition("data: ")[2] if text.startswith("event:") else text)


def test_a_conversation_that_the_server_keeps(client: openai.OpenAI) -> None:
    first = client.responses.create(
        model=MODEL, input=asking(text("What is this?"), image()), max_output_tokens=8, temperature=0
    )
    second = client.responses.create(
        model=MODEL, input="What colour?", previous_response_id=first.id, max_output_tokens=8, temperature=0
    )
    whole = [*asking(text("What is this?"), image()), {"role": "assistant", "content": first.output_text}]
    at_once = client.responses.create(
        model=MODEL,
        input=[*whole, {"role": "user", "content": "What colour?"}],
        max_output_tokens=8,
        temperature=0,
        store=False,
    )
    assert second.output_text == at_once.output_text
    assert second.usage is not None
    assert at_once.usage is not None
    assert second.usage.input_tokens == at_once.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text
    [item] = client.responses.input_items.list(first.id).data
    assert item.type == "message"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        client.responses.create(model=MODEL, input="And now?", previous_response_id=second.id)


def test_sound_and_videos_are_what_they_are_in_a_chat(client: openai.OpenAI) -> None:
    asked = "What do you hear and see?"
    chat = client.chat.completions.create(
        model=MODEL, messages=user(audio_part(), video_part(), text_part(asked)), max_tokens=8, temperature=0
    )
    parts: Any = [audio_part(), video_part(), text(asked)]
    response = client.responses.create(model=MODEL, input=asking(*parts), max_output_tokens=8, temperature=0)
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=asking(image(b"no image")))
    assert refused.value.param == "input[0].content[0]"


def test_a_function_is_called_and_answered(client: openai.OpenAI) -> None:
    # Sampled, one call in thirty puts more blanks into its JSON than there is room for.
    called = client.responses.create(
        model=MODEL,
        input="Look",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "look"},
        max_output_tokens=128,
        temperature=0,
    )
    [call] = [item for item in called.output if item.type == "function_call"]
    assert call.name == "look"
    answered = client.responses.create(
        model=MODEL,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "A red square."}],
        previous_response_id=called.id,
        tools=[TOOL],
        tool_choice="none",
        max_output_tokens=8,
    )
    assert answered.status in ("completed", "incomplete")


def test_a_stream_as_openais_client_reads_it(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Tell me a story.", max_output_tokens=12) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert events[0].type == "response.created"
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == final.output_text


def test_in_the_background(client: openai.OpenAI) -> None:
    stream = client.responses.create(
        model=MODEL, input="Tell me a story.", background=True, stream=True, max_output_tokens=48,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    created = next(iter(stream))
    assert created.type == "response.created"
    stream.close()
    rest = list(client.responses.retrieve(created.response.id, stream=True, starting_after=0))
    assert [event.sequence_number for event in rest] == list(range(1, len(rest) + 1))
    final = client.responses.retrieve(created.response.id)
    assert (final.status, final.background) == (rest[-1].response.status, True)  # type: ignore[union-attr]
    queued = client.responses.create(
        model=MODEL, input="Hello", background=True, max_output_tokens=4000, extra_body={"ignore_eos": True}
    )
    assert queued.status == "queued"
    assert client.responses.cancel(queued.id).status == "cancelled"


def test_a_conversation_that_responses_go_on_from(client: openai.OpenAI) -> None:
    seen = asking(image(picture("red")), text("Look."))
    conversation = client.conversations.create(items=seen)  # type: ignore[arg-type]
    options: dict[str, Any] = {"model": MODEL, "max_output_tokens": 8, "temperature": 0}
    first = client.responses.create(input="Colour?", conversation=conversation.id, **options)
    second = client.responses.create(input="And now?", conversation=conversation.id, **options)
    listed = list(client.conversations.items.list(conversation.id, order="asc"))
    assert [item.role for item in listed] == ["user", "user", "assistant", "user", "assistant"]  # type: ignore[union-attr]
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    whole = client.responses.create(input=[*seen, *asking(text("Colour?"))], **options)
    assert first.output_text == whole.output_text


def test_an_image_by_file_id(client: openai.OpenAI) -> None:
    data = picture("red")
    file = client.files.create(file=("red.png", data), purpose="vision")
    options: dict[str, Any] = {"model": MODEL, "max_output_tokens": 8, "temperature": 0}
    by_id = {"type": "input_image", "file_id": file.id, "detail": "auto"}
    answers = [client.responses.create(input=asking(part, text("Colour?")), **options) for part in (by_id, image(data))]
    assert answers[0].output_text == answers[1].output_text
    assert re.fullmatch(r"resp_[A-Za-z0-9._:-]+", answers[0].id)


def test_what_a_response_is_not_asked_for(client: openai.OpenAI) -> None:
    for refused, param in (
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"prompt": {"id": "p"}}, "prompt"),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.create(model=MODEL, input="Hello", **refused)  # type: ignore[call-overload]
        assert error.value.param == param
