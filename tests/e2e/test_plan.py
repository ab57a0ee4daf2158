"""What is planned for the embedded model's media is what vLLM counts."""

from __future__ import annotations

import json
import random
from typing import Any

import openai
import pytest

from tests.clips import video_with_sound
from tests.e2e.media import audio_part, data_url, image_part, picture, text_part, user, video_part
from tests.stack import RunningStack, metric
from tests.stack import request as post

pytestmark = pytest.mark.e2e
REQUESTS = 100
FILM = {"type": "video_url", "video_url": {"url": data_url("video/mp4", video_with_sound())}}


def outcomes(stack: RunningStack) -> tuple[float, float]:
    lines = stack.get("/metrics")[1].decode().splitlines()
    exact, contradicted = (
        metric("\n".join(line for line in lines if f'outcome="{outcome}"' in line), "tessera_plans_total")
        for outcome in ("exact", "contradicted")
    )
    return exact, contradicted


def request(chance: random.Random) -> dict[str, Any]:
    """Parts and options: images of any size, clips, sounds, mixed, and bounds of their size."""
    parts = [image_part(picture("blue", (chance.randint(20, 900), chance.randint(20, 900))))]
    options: dict[str, Any] = {}
    match chance.randrange(5):
        case 0:
            parts.append(video_part())
            options["media_io_kwargs"] = {"video": {"fps": chance.choice([1, 2, 4])}}
        case 1:
            parts += [audio_part(), image_part()]
        case 2:
            parts = [FILM]
            options["mm_processor_kwargs"] = {"use_audio_in_video": True}
        case 3:
            options["mm_processor_kwargs"] = {"max_pixels": chance.randint(12_544, 200_704)}
            parts.append(video_part())
    return {"messages": user(*parts, text_part("What is it?")), "extra_body": options}


def test_mixed_requests_are_planned_exactly(stack: RunningStack, client: openai.OpenAI) -> None:
    model = json.loads(stack.get("/v1/models")[1])["data"][0]
    assert model["planned_as"] == "qwen2_5_omni"
    exact, contradicted = outcomes(stack)
    chance = random.Random(12)
    for _ in range(REQUESTS):
        client.chat.completions.create(model="tessera-nano", max_tokens=1, temperature=0, **request(chance))
    assert outcomes(stack) == (exact + REQUESTS, contradicted)


def test_limits_of_an_image_change_usage_as_the_estimate_says(stack: RunningStack, client: openai.OpenAI) -> None:
    counted = []
    for detail, limit in [("high", {}), ("low", {}), ("auto", {"max_visual_tokens": 100})]:
        part = image_part(picture("green", (640, 480))) | limit
        part["image_url"]["detail"] = detail
        messages = user(part, text_part("What colour is it?"))
        body = {"model": "tessera-nano", "messages": messages}
        estimate = json.loads(post(f"{stack.url}/v1/estimate", body)[2])
        answer = client.chat.completions.create(model="tessera-nano", messages=messages, max_tokens=8, temperature=0)
        details = answer.usage.prompt_tokens_details.model_extra["multimodal_tokens"]  # type: ignore[union-attr,index]
        assert estimate["media_tokens"] == {"image": details["image"]}
        assert "green" in answer.choices[0].message.content.lower()  # type: ignore[union-attr]
        counted.append(details["image"])
    high, low, limited = counted
    assert low <= 64 < limited <= 100 < high
