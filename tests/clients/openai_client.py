"""OpenAI's own client; ``tests/e2e`` has more of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
from trial import Trial, refused, same

trial = Trial()
client = openai.OpenAI(base_url=f"{trial.url}/v1", api_key="none", max_retries=0)
LIMITS: dict[str, Any] = {"model": trial.model, "max_tokens": 100, "temperature": 0}
STORY = "Tell me a story."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def ask(*content: Any, **options: Any) -> Any:
    return client.chat.completions.create(messages=[{"role": "user", "content": list(content)}], **LIMITS, **options)


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@trial.of("text")
def text() -> None:
    answer = ask(part(STORY))
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


@trial.of("streaming")
def streaming() -> None:
    chunks = list(ask(part(STORY), stream=True, stream_options={"include_usage": True}))
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    same(ask(part(STORY)).choices[0].message.content, said)
    assert chunks[-1].usage.completion_tokens > 0


@trial.of("images")
def images() -> None:
    image = {"type": "image_url", "image_url": {"url": trial.picture}}
    answer = ask(part("What is in the image?"), image)
    assert "red" in answer.choices[0].message.content, answer


@trial.of("sound")
def sound() -> None:
    heard = {"type": "input_audio", "input_audio": {"data": trial.sound, "format": "wav"}}
    answer = ask(heard, part("How many beeps are there?"))
    assert "three" in answer.choices[0].message.content, answer


@trial.of("tools")
def tools() -> None:
    function = {"name": "weather", "parameters": SCHEMA, "strict": True}
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = ask(
        part("Hello"), tools=[{"type": "function", "function": function}], tool_choice=choice, logit_bias=trial.blanks
    )
    [call] = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")


@trial.of("structured output")
def structured_output() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    answer = ask(part("Hello"), response_format=wanted, logit_bias=trial.blanks)
    assert json.loads(answer.choices[0].message.content)["city"] in ("Rome", "Oslo")


@trial.of("responses")
def responses() -> None:
    options: dict[str, Any] = {"model": trial.model, "temperature": 0, "max_output_tokens": 20}
    first = client.responses.create(input=STORY, **options)
    events = client.responses.create(input=STORY, stream=True, **options)
    same(first.output_text, [event.delta for event in events if event.type == "response.output_text.delta"])
    second = client.responses.create(input="And then?", previous_response_id=first.id, **options)
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text


@trial.of("embeddings")
def embeddings() -> None:
    reader = openai.OpenAI(base_url=f"{trial.reader_url}/v1", api_key="none", max_retries=0)
    made = reader.embeddings.create(model=trial.reader, input=["A cat sleeps.", "Share prices fell."])
    assert [len(vector.embedding) for vector in made.data] == [384, 384]


@trial.of("transcription")
def transcription() -> None:
    sound = ("a.wav", base64.b64decode(trial.sound))
    assert client.audio.transcriptions.create(model=trial.model, file=sound).text


@trial.of("errors")
def errors() -> None:
    refusal = refused(openai.BadRequestError, lambda: ask(part(STORY), top_p=7))
    assert (refusal.code, refusal.param) == ("invalid_value", "top_p")


if __name__ == "__main__":
    trial.run()
