"""``POST /v1/estimate`` says what a request would be, without a worker having anything of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tessera.queue import ITEM_COUNT_PATH, Data, End
from tessera.worker.family import announce_family
from tests.gateway.scripted import DOCUMENT, ScriptedWorker, chat
from tests.gateway.test_planning import CLIP, FILM, HEARD, NANO, PICTURE, SOUND, family
from tests.plan.models import MODELS
from tests.polling import eventually

PATH = "/v1/estimate"


@pytest.fixture
def card(card):
    limits = {"image": 4, "video": 4, "audio": 4}
    return replace(card, limits=limits, plan=NANO.to_json(), media={"video_sampling": "qwen2_vl"})


async def estimated(gateway, worker, *parts, **fields):
    answer = await gateway.post(chat(worker.card.model, *parts, **fields), PATH)
    assert answer.status == 200, answer.body
    return answer.json


async def no_job(worker):
    return not await worker.waiting()


async def serve(gateway, redis_client, settings, card):
    """A worker of another card."""
    await ScriptedWorker(redis_client, settings, card).announce()
    await gateway.app.state.services.catalogue.refresh()


async def test_every_part_is_told_where_it_stands(gateway, worker):
    found = await estimated(gateway, worker, "What is it?", PICTURE, CLIP, SOUND)
    assert (found["object"], found["model"], found["planned_as"]) == ("estimate", worker.card.model, "qwen2_5_omni")
    picture, clip, sound = found["parts"]
    assert [part["path"] for part in found["parts"]] == [f"messages[0].content[{i}]" for i in (1, 2, 3)]
    assert [part["modality"] for part in found["parts"]] == ["image", "video", "audio"]
    assert all(part["exact"] and part["tokens"] > 0 and len(part["digest"]) == 64 for part in found["parts"])
    assert picture["size"] == picture["planned_size"] == {"width": 224, "height": 224}
    assert picture["tiles"] == {"columns": 1, "rows": 1, "thumbnail": False}
    assert picture["tokens"] == NANO.image(224, 224).tokens
    assert clip["times_s"] == sorted(clip["times_s"])
    assert clip["frames"] >= len(clip["times_s"]) > 1
    assert clip["planned_size"]["width"] % 28 == 0
    assert sound["duration_s"] > 0
    assert sound["size"] is None
    media = {part["modality"]: part["tokens"] for part in found["parts"]}
    assert found["media_tokens"] == media
    assert found["prompt_tokens"] == sum(media.values()) + found["text"]["tokens"]


async def test_nothing_is_queued(gateway, worker):
    await estimated(gateway, worker, PICTURE)
    assert await worker.waiting() == 0
    assert await worker.running() == 0


async def test_text_is_guessed_and_says_so(gateway, worker):
    found = await estimated(gateway, worker, {"type": "text", "text": "x" * 400}, "y" * 40)
    text = found["text"]
    assert (text["tokens"], text["exact"]) == (110, False)
    assert text["at_most"] > 440
    assert "announces no tokenizer" in text["reason"]
    assert (found["exact"], found["fits"]) == (False, None)
    body = {"model": worker.card.model, "prompt": ["z" * 40, "ä" * 20]}
    assert (await gateway.post(body, PATH)).json["text"]["tokens"] == 20


@pytest.mark.parametrize(("prompt", "tokens"), [([1, 2, 3], 3), ([[1, 2], [3]], 3)])
async def test_tokens_of_a_prompt_are_counted(gateway, worker, prompt, tokens):
    found = (await gateway.post({"model": worker.card.model, "prompt": prompt}, PATH)).json
    assert found["text"] == {"tokens": tokens, "exact": True, "at_most": tokens, "reason": None}
    assert (found["exact"], found["prompt_tokens"], found["parts"], found["fits"]) == (True, tokens, [], True)
    most = worker.card.max_model_len
    body = {"model": worker.card.model, "prompt": prompt, "max_tokens": most}
    assert (await gateway.post(body, PATH)).json["fits"] is False


async def test_media_that_alone_is_too_much_does_not_fit(gateway, worker, card, redis_client, settings):
    await serve(gateway, redis_client, settings, replace(card, max_model_len=60))
    found = await estimated(gateway, worker, PICTURE)
    assert (found["fits"], found["max_model_len"]) == (False, 60)


async def test_a_video_s_sound_counts_to_it(gateway, worker):
    [mute] = (await estimated(gateway, worker, FILM))["parts"]
    [heard] = (await estimated(gateway, worker, FILM, **HEARD))["parts"]
    assert heard["tokens"] > mute["tokens"] + 16  # a second of sound is 25 tokens


async def test_the_bounds_of_the_request_are_followed(gateway, worker, card, redis_client, settings):
    spec = {"image_resize": {"rule": "smart_resize", "factor": 28, "min_pixels": 12544, "max_pixels": 200704}}
    await serve(gateway, redis_client, settings, replace(card, media=spec))
    found = await estimated(gateway, worker, PICTURE, mm_processor_kwargs={"max_pixels": 15_680})
    assert found["parts"][0]["tokens"] == NANO.within(None, 15_680).image(224, 224).tokens


async def test_what_nobody_can_count_is_no_number(gateway, worker, worker_busy, card, redis_client, settings):
    await serve(gateway, redis_client, settings, replace(card, plan={}))
    found = await estimated(gateway, worker, PICTURE)
    [part] = found["parts"]
    assert (part["tokens"], part["exact"], found["exact"], found["planned_as"]) == (None, False, False, None)
    assert part["reason"] == "No worker had time to count it."
    await eventually(lambda: no_job(worker), "the question is withdrawn")
    assert part["size"] == {"width": 224, "height": 224}
    await serve(gateway, redis_client, settings, replace(card, any_media_options=True))
    [part] = (await estimated(gateway, worker, PICTURE, mm_processor_kwargs={"size": {"height": 3}}))["parts"]
    assert part["tokens"] is None
    assert "mm_processor_kwargs" in part["reason"]
    await serve(gateway, redis_client, settings, replace(card, plan=family("qwen2_audio").to_json()))
    [part] = (await estimated(gateway, worker, PICTURE))["parts"]
    assert "no images" in part["reason"]


async def test_hovle_without_an_encoder_is_counted_by_its_processor(gateway, worker, card, redis_client, settings):
    """Its configuration is InternVL's but for an encoder, of which that family's rules are."""
    embedding = {"model_type": "holistic_embedding", "image_size": 448, "patch_size": 14}
    model = {**MODELS["internvl"]["model"], "embedding_config": embedding}
    del model["vision_config"]
    announced = announce_family(SimpleNamespace(to_dict=lambda: model), SimpleNamespace, None)
    await serve(gateway, redis_client, settings, replace(card, plan=announced))
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(estimated(gateway, worker, PICTURE))
        lease = await worker.take()
        assert lease.job.path == ITEM_COUNT_PATH
        await worker.say(lease, DOCUMENT, Data(b'{"tokens": 257}'), End({}))
    [part] = asked.result()["parts"]
    assert (part["tokens"], part["exact"], asked.result()["planned_as"]) == (257, True, None)
    [again] = (await estimated(gateway, worker, PICTURE))["parts"]
    assert again["tokens"] == 257


async def test_tiles_and_the_text_between_them(gateway, worker, card, redis_client, settings):
    await serve(gateway, redis_client, settings, replace(card, plan=family("internvl").to_json()))
    [part] = (await estimated(gateway, worker, PICTURE))["parts"]
    assert (part["tokens"], part["exact"]) == (258, True)
    await serve(gateway, redis_client, settings, replace(card, plan=family("nvlm_d").to_json()))
    [part] = (await estimated(gateway, worker, PICTURE))["parts"]
    assert part["tokens"] > 256
    assert part["exact"] is False


async def test_a_model_whose_engine_counted_otherwise_is_not_called_exact(gateway, worker, worker_busy):
    gateway.app.state.services.planner.contradicted(worker.card.model)
    [part] = (await estimated(gateway, worker, PICTURE))["parts"]
    assert part["exact"] is False


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"model": "nobody", "prompt": "x"}, "model_not_found", "model"),
        ({"prompt": "x"}, "missing_required_parameter", "model"),
        ({"model": "M"}, "missing_required_parameter", "prompt"),
        ({"model": "M", "messages": []}, "missing_required_parameter", "messages"),
        ({"model": "M", "messages": [{"role": "user", "content": 7}]}, "invalid_value", "messages[0].content"),
        (b"{", "invalid_json", None),
    ],
)
async def test_what_a_request_may_not_be_is_refused_as_there(gateway, worker, body, code, param):
    if isinstance(body, dict) and body.get("model") == "M":
        body = body | {"model": worker.card.model}
    answer = await gateway.post(body, PATH)
    assert (answer.error["code"], answer.error["param"]) == (code, param)


async def test_a_part_that_cannot_be_decoded_is_named(gateway, worker):
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    answer = await gateway.post(chat(worker.card.model, "x", broken), PATH)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (
        400,
        "media_type_mismatch",
        "messages[0].content[1]",
    )


async def test_it_is_counted_as_a_request(gateway, worker):
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(estimated(gateway, worker, PICTURE))
    model = worker.card.model
    assert await gateway.metric("tessera_requests_total", model=model, endpoint=PATH, status="200") == 3
