"""LiteLLM as a client of a server that speaks OpenAI's API, and for reranking Cohere's."""

from __future__ import annotations

import base64
import json
from typing import Any

import litellm
from pydantic import BaseModel
from trial import Trial, refused, same

trial = Trial()
STORY = [{"role": "user", "content": "Tell me a story."}]
SERVER = {"api_base": f"{trial.url}/v1", "api_key": "none", "max_retries": 0}
READER = {"model": f"openai/{trial.reader}", "api_base": f"{trial.reader_url}/v1", "api_key": "none"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Weather(BaseModel):
    """What is asked for as JSON."""

    city: str
    warm: bool


def ask(messages: list[dict[str, Any]], **options: Any) -> Any:
    options = {"max_tokens": 60, "temperature": 0, **options}
    return litellm.completion(model=f"openai/{trial.model}", messages=messages, **SERVER, **options)


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@trial.of("text")
def text() -> None:
    answer = ask(STORY)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


@trial.of("streaming")
def streaming() -> None:
    chunks = list(ask(STORY, stream=True, stream_options={"include_usage": True}))
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    same(ask(STORY).choices[0].message.content, said)
    assert chunks[-1].usage.completion_tokens > 0


@trial.of("images")
def images() -> None:
    image = {"type": "image_url", "image_url": {"url": trial.picture}}
    answer = ask(user({"type": "text", "text": "What is in the image?"}, image))
    assert "red" in answer.choices[0].message.content, answer


@trial.of("sound")
def sound() -> None:
    part = {"type": "input_audio", "input_audio": {"data": trial.sound, "format": "wav"}}
    answer = ask(user(part, {"type": "text", "text": "How many beeps are there?"}))
    assert "three" in answer.choices[0].message.content, answer


@trial.of("tools")
def tools() -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    options: dict[str, Any] = {"tools": [TOOL], "tool_choice": choice, "logit_bias": trial.blanks}
    message = ask(STORY, **options).choices[0].message
    [call] = message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
    pieces = [chunk.choices[0].delta.tool_calls or [] for chunk in ask(STORY, stream=True, **options) if chunk.choices]
    streamed = "".join(piece.function.arguments for some in pieces for piece in some)
    # vLLM writes a call anew where it does not stream it.
    assert json.loads(streamed) == json.loads(call.function.arguments)
    found = {"role": "tool", "tool_call_id": call.id, "content": "It rains."}
    assert ask([*STORY, message.model_dump(), found], max_tokens=8).choices[0].finish_reason in ("stop", "length")


@trial.of("structured output")
def structured_output() -> None:
    answer = ask(STORY, response_format=Weather, logit_bias=trial.blanks, max_tokens=200)
    Weather.model_validate_json(answer.choices[0].message.content)


@trial.of("responses")
def responses() -> None:
    asked: dict[str, Any] = {"model": f"openai/{trial.model}", "max_output_tokens": 20, "temperature": 0}
    first = litellm.responses(input="Tell me a story.", **asked, **SERVER)
    said = first.output[0].content[0].text
    events = list(litellm.responses(input="Tell me a story.", stream=True, **asked, **SERVER))
    same(said, [event.delta for event in events if event.type == "response.output_text.delta"])
    second = litellm.responses(input="And then?", previous_response_id=first.id, **asked, **SERVER)
    assert second.usage.input_tokens > first.usage.input_tokens


@trial.of("messages")
def messages() -> None:
    answer = litellm.completion(
        model=f"anthropic/{trial.model}",
        messages=STORY,
        max_tokens=60,
        temperature=0,
        api_base=trial.url,
        api_key="none",
        max_retries=0,
    )
    assert answer.choices[0].message.content == ask(STORY).choices[0].message.content


@trial.of("embeddings")
def embeddings() -> None:
    made = litellm.embedding(input=["A cat sleeps.", "Share prices fell."], **READER)
    assert [len(vector["embedding"]) for vector in made.data] == [384, 384]


@trial.of("reranking")
def reranking() -> None:
    texts = ["A cat sleeps on the sofa.", "Share prices fell sharply."]
    ranked = litellm.rerank(
        model=f"cohere/{trial.reader}",
        query="Money",
        documents=texts,
        top_n=1,
        api_base=f"{trial.reader_url}/v2/rerank",
        api_key="none",
    )
    assert [result["index"] for result in ranked.results] == [1]


@trial.of("transcription")
def transcription() -> None:
    sound = ("a.wav", base64.b64decode(trial.sound), "audio/wav")
    # By itself it asks for times, which a model that chats does not tell.
    heard = litellm.transcription(model=f"openai/{trial.model}", file=sound, response_format="json", **SERVER)
    assert heard.text


@trial.of("errors")
def errors() -> None:
    refusal = refused(litellm.BadRequestError, lambda: ask(STORY, top_p=7))
    assert "`top_p` must be" in str(refusal)


if __name__ == "__main__":
    trial.run()
