"""Greedy answers through the gateway are those of vLLM's application called directly, bit by bit of the same engine."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.media import audio_part, image_part, input_audio_part, picture, text_part, user, video_part

pytestmark = pytest.mark.e2e
PROMPTS: dict[str, list[dict[str, Any]]] = {
    "text": user(text_part("Tell me a story.")),
    "string": [{"role": "user", "content": "Tell me a story."}],
    "image": user(text_part("What is this?"), image_part()),
    "jpeg": user(image_part(picture("orange", (300, 77), "JPEG")), text_part("What is this?")),
    "webp": user(image_part(picture("purple", (61, 140), "WEBP")), text_part("What is this?")),
    "photograph": user(image_part(picture("green", (2000, 1500), "JPEG")), text_part("What is this?")),
    "video": user(video_part(), text_part("What moves?")),
    "audio": user(text_part("What do you hear?"), audio_part()),
    "input_audio": user(text_part("What do you hear?"), input_audio_part()),
    "mixed": user(
        audio_part(), text_part("a"), image_part(), text_part("b"), video_part(), image_part(picture("teal"))
    ),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_same_answer(client: openai.OpenAI, direct: openai.OpenAI, name: str) -> None:
    options = {
        "model": "tessera-nano",
        "messages": PROMPTS[name],
        "max_tokens": 24,
        "temperature": 0,
        "logprobs": True,
        "extra_body": {"ignore_eos": True},
    }
    expected = direct.chat.completions.create(**options)
    answer = client.chat.completions.create(**options)
    assert answer.choices[0].message.content == expected.choices[0].message.content
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens  # type: ignore[union-attr]
    tokens = [token.token for token in answer.choices[0].logprobs.content]  # type: ignore[union-attr]
    assert tokens == [token.token for token in expected.choices[0].logprobs.content]  # type: ignore[union-attr]
