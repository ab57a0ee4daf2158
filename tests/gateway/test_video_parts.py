"""A video is frames to a model that takes images alone, and subtitles go with the frames that a model gets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tessera.media import RedisMediaStore, unpack
from tests.gateway.prompts import announce
from tests.gateway.scripted import chat, sent
from tests.gateway.test_planning import CLIP, NANO, PICTURE, SOUND
from tests.gateway.test_responses import RESPONSES, answer
from tests.gateway.test_visual_budget import of_model

PATH = "/v1/chat/completions"
SRT = """1
00:00:00,000 --> 00:00:00,300
The first

2
00:00:00,300 --> 00:00:00,301
Between two frames

3
00:00:00,400 --> 00:01:00,000
The last
"""


@pytest.fixture
async def card(card, redis_client, settings):
    """Of a model that takes images and no videos."""
    images = replace(card, limits={"image": 6}, plan=NANO.to_json(), media={"video_sampling": "qwen2_vl"})
    return await announce(redis_client, settings, images)


async def queued(gateway, worker, *parts, **fields):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(chat(worker.card.model, *parts, **fields)))
        lease = await worker.take()
        content = sent(lease)["messages"][0]["content"]
        await worker.echo(lease)
    return content, sent(lease)


async def refused(gateway, worker, *parts):
    told = await gateway.post(chat(worker.card.model, *parts))
    assert told.status == 400, told.body
    assert await worker.waiting() == 0
    return told.error


def times_of(texts):
    return [float(text.split(" at ")[1].split(" s")[0]) for text in texts]


async def test_red_villm_gives_an_image_model_uniform_frames_in_order(gateway, worker, redis_client, settings):
    content, body = await queued(gateway, worker, "Before", CLIP, "Between", PICTURE, "After")
    before, *shown, between, picture, after = content
    assert (before, between, after) == ("Before", "Between", "After")
    assert picture["type"] == "image_url"
    texts, frames = shown[::2], shown[1::2]
    # As many as there is room for beside the picture.
    assert [part["type"] for part in frames] == ["image_url"] * 5
    times = times_of([part["text"] for part in texts])
    assert times == sorted(set(times))
    assert times[0] == 0
    gaps = np.diff(times)
    assert max(gaps) - min(gaps) <= 0.2 + 1e-9
    store = RedisMediaStore(redis_client, settings)
    packed = [unpack(bytes(await store.get(part["uuid"]))) for part in frames]
    assert {header.modality for header, _ in packed} == {"image"}
    assert len({array.tobytes() for _, array in packed}) > 1
    assert "mm_processor_kwargs" not in body


async def test_the_frames_are_counted_and_kept_small_as_images_are(gateway, worker):
    body = chat(worker.card.model, "What?", {**CLIP, "max_visual_tokens": 120}, PICTURE)
    told = await gateway.post(body, "/v1/estimate")
    assert told.status == 200, told.body
    found = told.json
    assert found["exact"]
    assert [part["path"] for part in found["parts"]] == ["messages[0].content[1]"] * 5 + ["messages[0].content[2]"]
    assert [part["modality"] for part in found["parts"]] == ["image"] * 6
    assert sum(part["tokens"] for part in found["parts"][:5]) <= 120
    fewer = await gateway.post({**body, "mm_processor_kwargs": {"num_frames": 2}}, "/v1/estimate")
    assert len(fewer.json["parts"]) == 3
    budget = await gateway.post({**body, "visual_token_budget": 100}, "/v1/estimate")
    assert sum(part["tokens"] for part in budget.json["parts"]) <= 100


async def test_what_is_too_much_or_broken_is_named_as_its_client_knows_it(gateway, worker):
    error = await refused(gateway, worker, CLIP, *[PICTURE] * 6)
    assert (error["code"], error["param"]) == ("too_many_media_parts", "messages[0].content[6]")
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    error = await refused(gateway, worker, CLIP, "x", broken)
    assert error["param"] == "messages[0].content[2]"
    error = await refused(gateway, worker, CLIP, {**CLIP, "max_visual_tokens": 1})
    assert error["param"] in ("messages[0].content[1]", "messages[0].content[0]")
    assert (await refused(gateway, worker, SOUND))["code"] == "unsupported_modality"


async def test_video_mme_tells_the_subtitles_of_the_frames_that_are_sent_and_no_others(gateway, worker):
    limits = {"image": 4, "video": 2}
    await of_model(gateway, worker, NANO.to_json(), limits=limits, media={"video_sampling": "opencv"})
    content, _ = await queued(gateway, worker, {**CLIP, "subtitles": SRT}, "What is said?")
    video, said, question = content
    assert video["type"] == "video_url"
    assert set(video) == {"type", "video_url", "uuid"}
    lines = said["text"].splitlines()
    assert lines[0] == "Subtitles of the video:"
    assert [line.split("] ")[1] for line in lines[1:]] == ["The first", "The last"]
    assert lines[1].startswith("[0.0 s]")
    assert question == "What is said?"
    found = (await gateway.post(chat(worker.card.model, {**CLIP, "subtitles": SRT}), "/v1/estimate")).json
    bare = (await gateway.post(chat(worker.card.model, CLIP), "/v1/estimate")).json
    assert found["exact"]
    assert found["media_tokens"] == bare["media_tokens"]
    assert found["text"]["tokens"] > bare["text"]["tokens"]


async def test_no_frame_is_left_out_whose_subtitle_is_told(gateway, worker):
    limits = {"image": 4, "video": 2}
    await of_model(gateway, worker, NANO.to_json(), limits=limits, media={"video_sampling": "opencv"})

    async def estimated(**fields):
        told = await gateway.post(chat(worker.card.model, {**CLIP, **fields}), "/v1/estimate")
        assert told.status == 200, told.body
        return told.json["parts"][0]

    whole = await estimated(subtitles=SRT)
    few = await estimated(subtitles=SRT, max_visual_tokens=whole["tokens"] // 4)
    assert few["tokens"] <= whole["tokens"] // 4
    assert few["times_s"] == whole["times_s"]
    bare = await estimated(max_visual_tokens=whole["tokens"] // 4)
    assert len(bare["times_s"]) < len(whole["times_s"])


async def test_subtitles_stand_with_the_frames_of_an_image_model(gateway, worker):
    content, _ = await queued(gateway, worker, {**CLIP, "subtitles": SRT})
    texts = [part["text"] for part in content[::2]]
    assert texts[0] == "Frame 1 at 0.0 s: (subtitles: The first)"
    assert all("(subtitles: The last)" in text for text, time in zip(texts, times_of(texts), strict=True) if time > 0.4)
    assert not any("Between" in text for text in texts)


async def test_long_subtitles_in_a_large_body(gateway, worker):
    other = "\n5\n01:00:00,000 --> 01:00:01,000\n" + "Not shown. " * 30_000
    content, _ = await queued(gateway, worker, {**CLIP, "subtitles": SRT + other}, "What is said?")
    assert content[0]["text"] == "Frame 1 at 0.0 s: (subtitles: The first)"
    assert "Not shown" not in str(content)


async def test_of_responses_too(gateway, worker):
    video = {**CLIP, "subtitles": SRT}
    body = {"model": worker.card.model, "input": [{"role": "user", "content": [video]}], "store": False}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(body, RESPONSES))
        lease = await worker.take()
        content = sent(lease)["input"][0]["content"]
        await answer(worker, lease)
    assert [part["type"] for part in content] == ["input_text", "input_image"] * 6


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({**CLIP, "subtitles": "Hello"}, "-->"),
        ({**CLIP, "subtitles": 7}, "string"),
        ({**PICTURE, "subtitles": SRT}, "for videos"),
    ],
)
async def test_what_are_no_subtitles_is_refused_by_name(gateway, worker, part, why):
    error = await refused(gateway, worker, "x", part)
    assert error["param"] == "messages[0].content[1]"
    assert why in error["message"]
