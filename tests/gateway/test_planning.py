"""What engines count of media is compared with what was planned."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace

import pytest
import soundfile
from structlog.testing import capture_logs

from tessera.local.samples import audio, image, video
from tessera.plan import Configuration, read_family
from tessera.queue import Data, End
from tests.clips import video_with_sound
from tests.gateway.scripted import DOCUMENT, USAGE, ScriptedWorker, chat
from tests.plan.models import MODELS


def data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def family(name: str):
    return read_family(Configuration.of(**MODELS[name]))


PICTURE = {"type": "image_url", "image_url": {"url": data_url("image/png", image())}}
CLIP = {"type": "video_url", "video_url": {"url": data_url("video/mp4", video())}}
FILM = {"type": "video_url", "video_url": {"url": data_url("video/mp4", video_with_sound())}}
SOUND = {"type": "audio_url", "audio_url": {"url": data_url("audio/wav", audio())}}
HEARD = {"mm_processor_kwargs": {"use_audio_in_video": True}}
NANO = family("qwen2_5_omni:nano")


@pytest.fixture
def card(card):
    limits = {"image": 4, "video": 4, "audio": 4}
    return replace(card, limits=limits, plan=NANO.to_json(), media={"video_sampling": "qwen2_vl"})


async def answered(gateway, worker, *parts, counted, **fields):
    """A request whose engine counts so many tokens."""
    usage = USAGE if counted is None else {**USAGE, "prompt_tokens_details": {"multimodal_tokens": counted}}
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(chat(worker.card.model, *parts, **fields)))
        await worker.say(await worker.take(), DOCUMENT, Data(b"{}"), End(usage))
    assert asked.result().status == 200


async def outcomes(gateway, worker):
    name, model = "tessera_plans_total", worker.card.model
    return [await gateway.metric(name, model=model, outcome=outcome) for outcome in ("exact", "contradicted")]


async def test_what_engines_count_the_same_is_counted_as_exact(gateway, worker):
    picture = NANO.image(224, 224).tokens
    await answered(gateway, worker, PICTURE, counted={"image": picture, "video": 0})
    with soundfile.SoundFile(io.BytesIO(audio())) as file:
        heard = NANO.audio(file.frames * 16000 // file.samplerate).tokens
    await answered(gateway, worker, PICTURE, PICTURE, SOUND, counted={"image": 2 * picture, "audio": heard})
    assert await outcomes(gateway, worker) == [2, 0]
    assert gateway.app.state.services.planner.trusts(worker.card.model)


async def test_what_engines_count_otherwise_is_counted_and_logged_with_both_numbers(gateway, worker):
    with capture_logs() as logs:
        await answered(gateway, worker, PICTURE, counted={"image": 7})
    assert await outcomes(gateway, worker) == [0, 1]
    [line] = [line for line in logs if line["event"] == "plan_contradicted"]
    assert (line["planned"], line["counted"]) == ({"image": NANO.image(224, 224).tokens}, {"image": 7})
    assert not gateway.app.state.services.planner.trusts(worker.card.model)


async def test_the_sound_of_a_video_counts_for_both(gateway, worker):
    with capture_logs() as logs:
        await answered(gateway, worker, FILM, counted={"image": 1}, **HEARD)
        await answered(gateway, worker, FILM, counted={"image": 1})
    with_sound, without = (line["planned"] for line in logs if line["event"] == "plan_contradicted")
    assert with_sound["video"] == with_sound["audio"] > without["video"]
    assert set(without) == {"video"}


async def test_a_bound_that_a_request_sets_is_followed(gateway, worker, card, redis_client, settings):
    spec = {"image_resize": {"rule": "smart_resize", "factor": 28, "min_pixels": 12544, "max_pixels": 200704}}
    await ScriptedWorker(redis_client, settings, replace(card, media=spec)).announce()
    await gateway.get("/readyz")
    few = NANO.within(None, 15_680).image(224, 224).tokens
    assert few < NANO.image(224, 224).tokens
    await answered(gateway, worker, PICTURE, counted={"image": few}, mm_processor_kwargs={"max_pixels": 15_680})
    assert await outcomes(gateway, worker) == [1, 0]


@pytest.mark.parametrize(
    "plan",
    [{}, {"family": "of_tomorrow", "parameters": {}}, family("nvlm_d").to_json(), family("qwen2_audio").to_json()],
    ids=["unknown", "newer", "with text", "not of images"],
)
async def test_what_is_not_known_exactly_is_not_compared(gateway, worker, card, redis_client, settings, plan):
    await ScriptedWorker(redis_client, settings, replace(card, plan=plan)).announce()
    await gateway.get("/readyz")
    await answered(gateway, worker, PICTURE, counted={"image": 7})
    assert await outcomes(gateway, worker) == [0, 0]


async def test_an_engine_that_does_not_say_is_not_compared(gateway, worker):
    await answered(gateway, worker, PICTURE, counted=None)
    await answered(gateway, worker, counted={"image": 3})  # a request without media
    assert await outcomes(gateway, worker) == [0, 0]


async def test_options_that_only_a_processor_follows_are_not_planned(gateway, worker, card, redis_client, settings):
    await ScriptedWorker(redis_client, settings, replace(card, any_media_options=True)).announce()
    await gateway.get("/readyz")
    await answered(gateway, worker, PICTURE, counted={"image": 7}, mm_processor_kwargs={"size": {"height": 3}})
    assert await outcomes(gateway, worker) == [0, 0]


async def test_models_say_how_their_media_is_counted(gateway, worker, card, redis_client, settings):
    await ScriptedWorker(redis_client, settings, replace(card, model=card.model + "-x", plan={})).announce()
    await gateway.app.state.services.catalogue.refresh()
    _, listed = await gateway.get("/v1/models")
    planned = {model["id"]: model["planned_as"] for model in listed["data"]}
    assert planned == {card.model: "qwen2_5_omni", card.model + "-x": None}
