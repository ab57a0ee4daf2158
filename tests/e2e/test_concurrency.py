"""Two hundred streams at once through one gateway process: none fails, none is cut short, none gets another's words."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.e2e.media import text_part, user

pytestmark = pytest.mark.e2e
STREAMS = 200
TOKENS = 12


async def test_two_hundred_streams(async_client: openai.AsyncOpenAI) -> None:
    def options(i: int) -> dict[str, object]:
        return {
            "model": "tessera-nano",
            "messages": user(text_part(f"Say something about number {i % 20}.")),
            "max_tokens": TOKENS,
            "temperature": 0,
            "extra_body": {"ignore_eos": True},
        }

    async def stream(i: int) -> tuple[str, int]:
        text, tokens = "", 0
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        async for chunk in await async_client.chat.completions.create(**options(i), **asked):  # type: ignore[call-overload]
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
        return text, tokens

    answers = await asyncio.gather(*[stream(i) for i in range(STREAMS)])
    assert [tokens for _, tokens in answers] == [TOKENS] * STREAMS
    for i in range(20):
        alone = await async_client.chat.completions.create(**options(i))  # type: ignore[call-overload]
        assert {text for text, _ in answers[i::20]} == {alone.choices[0].message.content}
