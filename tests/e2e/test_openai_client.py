"""OpenAI's own client against the real server: sync and async, streamed and not, all modalities."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.media import audio_part, image_part, input_audio_part, picture, text_part, user, video_part
from tests.stack import RunningStack

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"
MIXED = user(
    text_part("A picture"), image_part(), text_part("a clip"), video_part(), text_part("a sound"), audio_part()
)


def test_answers_interleaved_media(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MIXED, max_tokens=12, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    counts = answer.usage.prompt_tokens_details.model_dump()["multimodal_tokens"]
    assert set(counts) == {"image", "video", "audio"}
    assert all(counts.values())


def test_streams_what_it_would_answer_at_once(client: openai.OpenAI) -> None:
    options = {"model": MODEL, "messages": MIXED, "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(stream=True, **options))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert all(c.usage is None for c in chunks)
    assert len({c.id for c in chunks}) == 1


def test_streams_usage_when_asked(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=user(text_part("Hello")),
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_async_client(async_client: openai.AsyncOpenAI) -> None:
    options = {"model": MODEL, "messages": MIXED, "max_tokens": 12, "temperature": 0}
    whole = await async_client.chat.completions.create(**options)
    streamed = ""
    async for chunk in await async_client.chat.completions.create(stream=True, **options):
        streamed += chunk.choices[0].delta.content or ""
    assert streamed == whole.choices[0].message.content


def test_text_completion(client: openai.OpenAI) -> None:
    options = {
        "model": MODEL,
        "prompt": "Once upon a time",
        "max_tokens": 8,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }
    whole = client.completions.create(**options)
    streamed = "".join(c.choices[0].text for c in client.completions.create(stream=True, **options))
    assert streamed == whole.choices[0].text
    assert streamed


def test_many_turns_with_media_in_several(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "Answer in short."},
        *user(text_part("first"), image_part(picture("red")), image_part(picture("blue"))),
        {"role": "assistant", "content": "Two."},
        *user(input_audio_part(), text_part("and now?")),
        {"role": "assistant", "content": "A sound."},
        *user(video_part(), image_part(picture("green"))),
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8)
    counts = answer.usage.prompt_tokens_details.model_dump()["multimodal_tokens"]  # type: ignore[union-attr]
    assert set(counts) == {"image", "video", "audio"}


def test_models(client: openai.OpenAI, stack: RunningStack) -> None:
    [model] = client.models.list().data
    assert model.id == MODEL
    described = client.models.retrieve(MODEL).model_dump()
    assert described["modalities"] == ["text", "image", "video", "audio"]
    assert described["limits"] == {"image": 8, "video": 2, "audio": 4}
    assert described["max_model_len"] == 8192
    assert described["workers"] == 1
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("another")
    assert refused.value.code == "model_not_found"
