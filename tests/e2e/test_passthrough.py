"""Fields that the gateway does not know reach vLLM, and what vLLM makes of them comes back."""

from __future__ import annotations

import json

import openai
import pytest
from tokenizers import Tokenizer

from tessera.settings import EMBEDDED_MODEL
from tests.e2e.media import image_part, text_part, user

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
HELLO = user(text_part("Hello"))


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=3, logprobs=True, top_logprobs=4)
    content = answer.choices[0].logprobs.content  # type: ignore[union-attr]
    assert content
    assert all(len(token.top_logprobs) == 4 for token in content)


@pytest.mark.parametrize("stream", [False, True])
def test_n(client: openai.OpenAI, stream: bool) -> None:
    options = {"model": MODEL, "messages": HELLO, "max_tokens": 4, "n": 3, "temperature": 1.0, "seed": 1}
    if stream:
        indices = {c.choices[0].index for c in client.chat.completions.create(stream=True, **options)}
    else:
        indices = {c.index for c in client.chat.completions.create(**options).choices}
    assert indices == {0, 1, 2}


def test_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=user(image_part(), text_part("What is it?")),
        max_tokens=100,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}},
    )
    thing = json.loads(answer.choices[0].message.content or "")
    assert thing["colour"] in ("red", "blue")
    assert 0 <= thing["count"] <= 9


def blanks() -> dict[str, int]:
    """A bias against tokens of nothing but white space: the embedded model learnt only one form of JSON, and may choose
    them wherever the grammar of a tool call lets it, up to the last token."""
    tokenizer = Tokenizer.from_file(str(EMBEDDED_MODEL / "tokenizer.json"))
    ids = range(tokenizer.get_vocab_size())
    return {str(i): -100 for i in ids if (text := tokenizer.decode([i], skip_special_tokens=False)) and text.isspace()}


def test_tools(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        max_tokens=100,
        temperature=0,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        logit_bias=blanks(),
    )
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")


def test_seed(client: openai.OpenAI) -> None:
    def sample(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=24, temperature=1.5, seed=seed, extra_body={"ignore_eos": True}
        )
        return answer.choices[0].message.content

    assert sample(7) == sample(7)
    assert sample(7) != sample(8)


def test_stop(client: openai.OpenAI) -> None:
    options = {"model": MODEL, "messages": HELLO, "max_tokens": 24, "temperature": 0}
    text = client.chat.completions.create(**options, extra_body={"ignore_eos": True}).choices[0].message.content or ""
    stop = text[3:6]
    stopped = client.chat.completions.create(**options, stop=stop, extra_body={"ignore_eos": True})
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == text[: text.index(stop)]
