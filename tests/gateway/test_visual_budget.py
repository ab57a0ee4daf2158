"""An image or a video is as many tokens as its part, its request or the server allows, whatever the processor does."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace

import pytest
from PIL import Image

from tessera.gateway.planning import tokens_of
from tessera.media import ImageResize, MediaSpec, RedisMediaStore, unpack
from tessera.plan import image_choices, low_tokens
from tessera.settings import VisualDefaults
from tests.gateway.scripted import chat, sent
from tests.gateway.test_planning import CLIP, FILM, HEARD, NANO, SOUND, data_url, family
from tests.plan.models import MODELS
from tests.polling import eventually

RULE = ImageResize(28, 12544, 200704)
# Families that know the tokens of an image without a tokenizer.
EXACT = (
    "qwen2_vl",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "pixtral",
    "ovis",
    "ovis2_5",
    "molmo",
    "phi4mm",
)


@pytest.fixture
def card(card):
    spec = MediaSpec(image_resize=RULE).to_json()
    return replace(card, limits={"image": 4, "video": 2, "audio": 1}, plan=NANO.to_json(), media=spec)


def picture(width, height, detail=None, **fields):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    url = {"url": data_url("image/png", buffer.getvalue())}
    return {"type": "image_url", "image_url": url if detail is None else {**url, "detail": detail}, **fields}


def clip(detail=None, part=CLIP, **fields):
    url = part["video_url"]
    return {"type": "video_url", "video_url": url if detail is None else {**url, "detail": detail}, **fields}


async def tokens(gateway, worker, *parts, exact=True, **fields):
    answer = await gateway.post(chat(worker.card.model, *parts, **fields), "/v1/estimate")
    assert answer.status == 200, answer.body
    assert all(part["exact"] for part in answer.json["parts"]) or not exact
    return [part["tokens"] for part in answer.json["parts"]]


async def of_model(gateway, worker, plan, **changes):
    """The worker serves another model from now on."""
    worker.card = replace(worker.card, plan=json.loads(json.dumps(plan)), **changes)
    await worker.announce()
    model = worker.card.model

    async def seen():
        await gateway.app.state.services.catalogue.refresh()
        return gateway.app.state.services.catalogue.target(model).card == worker.card

    await eventually(seen, "the new card")


async def queued(gateway, worker, redis_client, settings, *parts, **fields):
    """What the engine gets: the request's parts, the arrays and metadata of its media, and the whole request."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(chat(worker.card.model, *parts, **fields)))
        lease = await worker.take()
        body = sent(lease)
        content = body["messages"][0]["content"]
        store = RedisMediaStore(redis_client, settings)
        media = [unpack(bytes(await store.get(part["uuid"]))) for part in content if "uuid" in part]
        await worker.echo(lease)
    return content, media, body


async def test_low_is_a_quarter_of_what_the_model_takes(gateway, worker):
    parts = [picture(900, 900, detail) for detail in ("low", "high", "auto", None)]
    assert await tokens(gateway, worker, *parts) == [64, 256, 256, 256]


async def test_what_is_small_already_stays_as_it_is(gateway, worker):
    parts = [picture(112, 112, "low"), picture(112, 112, max_visual_tokens=200)]
    assert await tokens(gateway, worker, *parts, visual_token_budget=32) == [16, 16]


@pytest.mark.parametrize("most", [24, 64, 100, 255, 10**12])
async def test_an_image_is_no_more_tokens_than_its_part_allows(gateway, worker, most):
    few, both = await tokens(
        gateway,
        worker,
        picture(1200, 700, max_visual_tokens=most),
        picture(1200, 700, "low", max_visual_tokens=most),
    )
    assert both <= few <= most
    assert few >= min(most, 256) // 2
    assert both <= 64


@pytest.mark.parametrize("name", EXACT)
async def test_low_and_limits_are_kept_for_every_family(gateway, worker, name):
    counts = family(name)
    await of_model(gateway, worker, counts.to_json(), media={}, limits={"image": 4})
    [whole, low] = await tokens(gateway, worker, picture(1200, 900), picture(1200, 900, "low"))
    least = image_choices(counts, 1200, 900, tokens_of)[0].tokens
    assert least <= low <= max(least, low_tokens(counts, tokens_of))
    if name == "llava":
        return  # every image is one square
    [less] = await tokens(gateway, worker, picture(1200, 900, max_visual_tokens=whole - 1))
    assert low <= less < whole
    budget = whole + least
    spent = await tokens(gateway, worker, picture(1200, 900), picture(1200, 900), visual_token_budget=budget)
    assert sum(spent) <= budget


@pytest.mark.parametrize("name", ["idefics3", "idefics3:smolvlm"])
async def test_a_processor_that_enlarges_every_image_is_told_a_smaller_size(
    gateway, worker, redis_client, settings, name
):
    counts = family(name)
    await of_model(gateway, worker, counts.to_json(), media={}, limits={"image": 4})
    parts = [picture(600, 400, "low"), picture(300, 300)]
    _, media, body = await queued(gateway, worker, redis_client, settings, *parts)
    # One size for all images of a request; the pixels stay.
    assert body["mm_processor_kwargs"] == counts.fewer()[0]
    assert [header.shape for header, _ in media] == [(400, 600, 3), (300, 300, 3)]
    whole = await tokens(gateway, worker, *[picture(600, 400)] * 2, exact=False)
    told = await tokens(gateway, worker, *[picture(600, 400)] * 2, exact=False, visual_token_budget=sum(whole) - 1)
    assert sum(told) < sum(whole)
    answer = await gateway.post(chat(worker.card.model, *[picture(600, 400)] * 2, visual_token_budget=20))
    least = int(answer.error["message"].rsplit(" ", 1)[1].rstrip("."))
    assert answer.error["param"] == "messages[0].content[0]"
    assert sum(await tokens(gateway, worker, *[picture(600, 400)] * 2, exact=False, visual_token_budget=least)) <= least
    answer = await gateway.post(chat(worker.card.model, picture(9, 9), picture(600, 400, max_visual_tokens=7)))
    assert (answer.error["code"], answer.error["param"]) == ("visual_budget_too_small", "messages[0].content[1]")


async def test_a_model_whose_images_are_of_one_size_says_what_it_needs(gateway, worker):
    await of_model(gateway, worker, family("llava").to_json(), media={}, limits={"image": 4})
    answer = await gateway.post(chat(worker.card.model, picture(600, 400, max_visual_tokens=575)))
    assert answer.error["message"].endswith("must be at least 576.")
    for enough in (576, 576.0):
        assert await tokens(gateway, worker, picture(600, 400, max_visual_tokens=enough)) == [576]


async def test_the_engine_gets_the_smaller_image_and_nothing_else(gateway, worker, redis_client, settings):
    part = picture(900, 900, "low", max_visual_tokens=30)
    [image], [(header, _)], body = await queued(gateway, worker, redis_client, settings, part, visual_token_budget=1000)
    assert set(image) == {"type", "image_url", "uuid"}
    assert image["image_url"]["detail"] == "low"
    assert set(body) == {"model", "messages"}
    assert header.shape == (140, 140, 3)


async def test_too_few_are_refused_with_the_least_that_works(gateway, worker):
    answer = await gateway.post(chat(worker.card.model, "x", picture(900, 600, max_visual_tokens=3)))
    assert (answer.status, answer.error["code"]) == (400, "visual_budget_too_small")
    assert answer.error["param"] == "messages[0].content[1]"
    least = int(answer.error["message"].rsplit(" ", 1)[1].rstrip("."))
    assert 3 < least < 30
    [few] = await tokens(gateway, worker, picture(900, 600, max_visual_tokens=least))
    assert few == least
    answer = await gateway.post(chat(worker.card.model, "x", picture(900, 600, max_visual_tokens=least - 1)))
    assert answer.error["code"] == "visual_budget_too_small"
    assert await worker.waiting() == 0


async def test_a_budget_is_spread_over_the_parts_by_their_area(gateway, worker):
    parts = [picture(1200, 800), picture(300, 200), clip()]
    whole = await tokens(gateway, worker, *parts)
    before = [0, 0, 0]
    for budget in (100, 150, 250, 400, 700):
        spent = await tokens(gateway, worker, *parts, visual_token_budget=budget)
        assert sum(spent) <= budget
        assert all(earlier <= now for earlier, now in zip(before, spent, strict=True))
        before = spent
    assert before[0] > before[1]
    assert await tokens(gateway, worker, *parts, visual_token_budget=sum(whole)) == whole
    answer = await gateway.post(chat(worker.card.model, *parts, visual_token_budget=20))
    assert (answer.status, answer.error["code"]) == (400, "visual_budget_too_small")
    assert answer.error["param"] == "messages[0].content[1]"  # the first one has 16 of them
    least = int(answer.error["message"].rsplit(" ", 1)[1].rstrip("."))
    assert sum(await tokens(gateway, worker, *parts, visual_token_budget=least)) == least
    answer = await gateway.post(chat(worker.card.model, *parts, visual_token_budget=least - 1))
    assert answer.error["code"] == "visual_budget_too_small"


async def test_a_part_s_own_limit_holds_within_the_budget(gateway, worker):
    parts = [picture(1200, 800, max_visual_tokens=40), picture(1200, 800)]
    one, other = await tokens(gateway, worker, *parts, visual_token_budget=200)
    assert one <= 40 < other <= 160


async def test_a_video_is_fewer_and_smaller_frames_with_their_own_times(gateway, worker, redis_client, settings):
    [whole] = await tokens(gateway, worker, clip())
    [low, limited] = await tokens(gateway, worker, clip("low"), clip(max_visual_tokens=whole // 2))
    assert low <= whole // 4
    assert low < limited <= whole // 2
    _, [(every, _)], _ = await queued(gateway, worker, redis_client, settings, clip())
    content, [(header, _)], body = await queued(gateway, worker, redis_client, settings, clip("low"))
    assert "detail" not in content[0]["video_url"]
    indices = header.metadata["frames_indices"]
    assert len(indices) < len(every.metadata["frames_indices"])
    assert set(indices) <= set(every.metadata["frames_indices"])
    assert header.metadata["fps"] == every.metadata["fps"]
    # The processor of the Omni models knows the times of frames from this rate alone.
    rate = len(indices) / header.metadata["total_num_frames"] * header.metadata["fps"]
    assert body["mm_processor_kwargs"] == {"fps": pytest.approx(rate)}


async def test_of_several_videos_no_frames_are_left_out_where_one_rate_is_for_all(
    gateway, worker, redis_client, settings
):
    parts = [clip(max_visual_tokens=150), clip("low", part=FILM)]
    whole = await queued(gateway, worker, redis_client, settings, clip(), clip(part=FILM))
    _, media, body = await queued(gateway, worker, redis_client, settings, *parts)
    assert [h.metadata["frames_indices"] for h, _ in media] == [h.metadata["frames_indices"] for h, _ in whole[1]]
    assert media[0][0].shape[1:3] < whole[1][0][0].shape[1:3]
    assert "mm_processor_kwargs" not in body


async def test_a_video_keeps_its_sound(gateway, worker, redis_client, settings):
    _, [(header, _)], body = await queued(
        gateway, worker, redis_client, settings, clip("low", part=FILM), visual_token_budget=60, **HEARD
    )
    assert header.metadata["audio_digest"]
    assert body["mm_processor_kwargs"].keys() == {"fps", "use_audio_in_video"}


@pytest.mark.parametrize(
    ("part", "where"),
    [
        (picture(9, 9, "medium"), ""),
        (picture(9, 9, ["low"]), ""),
        (clip("medium"), ""),
        (picture(9, 9, max_visual_tokens=0), ".max_visual_tokens"),
        (picture(9, 9, max_visual_tokens=True), ".max_visual_tokens"),
        (picture(9, 9, max_visual_tokens=1.5), ".max_visual_tokens"),
        (picture(9, 9, max_visual_tokens="64"), ".max_visual_tokens"),
        ({**SOUND, "max_visual_tokens": 64}, ".max_visual_tokens"),
    ],
)
async def test_what_is_no_limit_is_refused_by_name(gateway, worker, part, where):
    answer = await gateway.post(chat(worker.card.model, "x", part))
    assert (answer.status, answer.error["code"]) == (400, "invalid_value")
    assert answer.error["param"] == "messages[0].content[1]" + where


@pytest.mark.parametrize("budget", [0, -1, True, "64", 1.5, []])
async def test_what_is_no_budget_is_refused_by_name(gateway, worker, budget):
    answer = await gateway.post(chat(worker.card.model, picture(9, 9), visual_token_budget=budget))
    assert (answer.status, answer.error["code"]) == (400, "invalid_value")
    assert answer.error["param"] == "visual_token_budget"


@pytest.mark.parametrize("plan", [{}, {"family": "of_tomorrow", "parameters": {}}])
async def test_what_cannot_be_kept_for_a_model_is_refused(gateway, worker, worker_busy, plan):
    await of_model(gateway, worker, plan)
    answer = await gateway.post(chat(worker.card.model, picture(90, 90, max_visual_tokens=64)))
    assert answer.error["param"] == "messages[0].content[0].max_visual_tokens"
    answer = await gateway.post(chat(worker.card.model, picture(90, 90), visual_token_budget=64))
    assert answer.error["param"] == "visual_token_budget"
    assert await tokens(gateway, worker, picture(300, 300, "low"), exact=False) == [None]
    # A budget of nothing is kept by any model.
    assert await tokens(gateway, worker, "x", visual_token_budget=1) == []


async def test_what_a_processor_is_told_by_the_client_leaves_no_room_for_budgets(gateway, worker):
    await of_model(gateway, worker, NANO.to_json(), any_media_options=True)
    answer = await gateway.post(
        chat(worker.card.model, picture(90, 90), visual_token_budget=64, mm_processor_kwargs={"max_pixels": 9})
    )
    assert answer.error["param"] == "visual_token_budget"


DEFAULTS = {
    "low": VisualDefaults(detail="low"),
    "few": VisualDefaults(max_visual_tokens=100),
    "none": VisualDefaults(max_visual_tokens=1),
    "together": VisualDefaults(visual_token_budget=120),
}


@pytest.mark.parametrize(
    ("usual", "detail", "fields", "expected"),
    [
        ("low", None, {}, [64, 64]),
        ("low", "auto", {}, [64, 64]),
        ("low", "high", {}, [256, 256]),
        ("few", None, {}, [100, 100]),
        ("few", None, {"max_visual_tokens": 200}, [196, 196]),
        ("none", None, {}, [16, 16]),  # as few as there can be, and no error
        ("together", None, {}, [64, 49]),
    ],
)
async def test_the_server_s_defaults_count_where_a_request_says_nothing(
    start_gateway, settings, worker, usual, detail, fields, expected
):
    gateway = await start_gateway(settings.model_copy(update={"visual_defaults": {"*": DEFAULTS[usual]}}))
    found = await tokens(gateway, worker, *[picture(900, 900, detail, **fields)] * 2)
    assert found == expected


def test_every_family_of_images_is_among_the_examples_or_writes_text():
    others = {"idefics3", "qwen3_vl", "qwen2_5_omni", "qwen3_omni", "nvlm_d", "gemma3", "mistral3", "qwen2_audio"}
    assert {name.partition(":")[0] for name in MODELS} == {*EXACT, *others}
