"""Options of media reach what carries them out, and vLLM takes what goes on of them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.clips import video_with_sound
from tests.e2e.media import data_url, image_part, picture, text_part, user, video_part

pytestmark = pytest.mark.e2e
CLIP = {"type": "video_url", "video_url": {"url": data_url("video/mp4", video_with_sound())}}


def tokens(client: openai.OpenAI, *parts: dict[str, Any], **options: Any) -> dict[str, int]:
    """Tokens of the prompt by modality."""
    messages = user(*parts, text_part("What is it?"))
    answer = client.chat.completions.create(
        model="tessera-nano", messages=messages, max_tokens=4, temperature=0, extra_body=options
    )
    assert answer.choices[0].message.content
    details = answer.usage.prompt_tokens_details.model_extra["multimodal_tokens"]  # type: ignore[union-attr,index]
    return {name: count for name, count in details.items() if count}


def test_the_sampling_of_a_video(client: openai.OpenAI) -> None:
    few = tokens(client, video_part(), media_io_kwargs={"video": {"fps": 2}})
    many = tokens(client, video_part(), media_io_kwargs={"video": {"fps": 8}})
    assert set(few) == set(many) == {"video"}
    assert many["video"] > few["video"]
    assert tokens(client, video_part(), mm_processor_kwargs={"fps": 8}) == many


def test_the_sound_of_a_video(client: openai.OpenAI) -> None:
    heard = tokens(client, CLIP, mm_processor_kwargs={"use_audio_in_video": True})
    seen = tokens(client, CLIP)
    assert heard["audio"] > 0
    assert heard["video"] >= seen["video"]  # vLLM counts the sound within a video to it, too
    assert tokens(client, CLIP, mm_processor_kwargs={"use_audio_in_video": False}) == seen
    assert "audio" not in seen


def test_a_video_without_sound_whose_sound_is_asked_for(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        tokens(client, video_part(), mm_processor_kwargs={"use_audio_in_video": True})
    assert refused.value.param == "messages[0].content[0]"


def test_the_size_of_an_image_is_of_one_request(client: openai.OpenAI) -> None:
    part = image_part(picture("green", (448, 448)))
    before = tokens(client, part)
    assert tokens(client, part, mm_processor_kwargs={"max_pixels": 28 * 28 * 16})["image"] < before["image"]
    # The same image is not taken from a cache at another request's size.
    assert tokens(client, part) == before
