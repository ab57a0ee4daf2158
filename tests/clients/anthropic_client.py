"""Anthropic's own client; ``tests/e2e`` has more of it."""

from __future__ import annotations

from typing import Any

import anthropic
from trial import Trial, refused, same

trial = Trial()
client = anthropic.Anthropic(base_url=trial.url, api_key="none", max_retries=0)
LIMITS: dict[str, Any] = {"model": trial.model, "max_tokens": 100, "extra_body": {"temperature": 0}}
STORY: list[dict[str, Any]] = [{"role": "user", "content": "Tell me a story."}]
TOOL: dict[str, Any] = {
    "name": "weather",
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@trial.of("messages")
def messages() -> None:
    answer = client.messages.create(messages=STORY, **LIMITS)
    assert answer.content[0].text
    counted = client.messages.count_tokens(model=trial.model, messages=STORY)
    assert counted.input_tokens == answer.usage.input_tokens


@trial.of("text")
def text() -> None:
    assert client.messages.create(messages=STORY, **LIMITS).content[0].text


@trial.of("streaming")
def streaming() -> None:
    whole = client.messages.create(messages=STORY, **LIMITS).content[0].text
    with client.messages.stream(messages=STORY, **LIMITS) as streamed:
        same(whole, list(streamed.text_stream))
        assert streamed.get_final_message().usage.output_tokens > 0


@trial.of("images")
def images() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": trial.picture.partition(",")[2]}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is in the image?"}]
    answer = client.messages.create(messages=[{"role": "user", "content": content}], **LIMITS)
    assert "red" in answer.content[0].text, answer


@trial.of("tools")
def tools() -> None:
    options: dict[str, Any] = LIMITS | {"extra_body": {"temperature": 0, "logit_bias": trial.blanks}}
    choice = {"type": "tool", "name": "weather"}
    answer = client.messages.create(messages=STORY, tools=[TOOL], tool_choice=choice, **options)
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert call.input["city"] in ("Rome", "Oslo")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "It rains."}
    asked = [*STORY, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(messages=asked, tools=[TOOL], **LIMITS).stop_reason


@trial.of("errors")
def errors() -> None:
    asked = LIMITS | {"model": "another"}
    refusal = refused(anthropic.NotFoundError, lambda: client.messages.create(messages=STORY, **asked))
    assert refusal.body["error"]["type"] == "not_found_error"


if __name__ == "__main__":
    trial.run()
