"""Pictures of plans: as large as they may be, with the tiles where they are cut."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tessera.gateway.planning import tokens_of
from tessera.gateway.preview import draw_image, draw_video
from tessera.media import MediaSpec, Modality, pack
from tessera.plan import Grid, ImagePlan, Size, VideoPlan
from tests.gateway.scripted import chat
from tests.gateway.test_planning import CLIP, NANO, SOUND, family
from tests.gateway.test_visual_budget import RULE, of_model, picture

EDGE = (255, 60, 0)


@pytest.fixture
def card(card):
    spec = MediaSpec(image_resize=RULE).to_json()
    return replace(card, limits={"image": 4, "video": 2, "audio": 1}, plan=NANO.to_json(), media=spec)


def opened(png):
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"))


def drawn(width, height, plan):
    pixels = np.full((height, width, 3), 90, np.uint8)
    return opened(draw_image(pack(pixels, Modality.IMAGE, {}), plan, 770))


def lines(sheet):
    """Columns and rows of pixels that are mostly of the colour of tiles' edges."""
    edge = (sheet == EDGE).all(axis=2)
    return int((edge.sum(axis=0) > 150).sum()), int((edge.sum(axis=1) > 150).sum())


def test_tiles_are_drawn_where_the_image_is_cut():
    plan = ImagePlan(embedded=770, tokens=770, size=Size(600, 400), grid=Grid(3, 2), thumbnail=True)
    sheet = drawn(1200, 800, plan)
    # Each tile has two edges of two pixels on a side.
    assert lines(sheet) == (3 * 4, 2 * 4)
    whole = drawn(1200, 800, ImagePlan(embedded=9, tokens=9, size=Size(600, 400)))
    assert lines(whole) == (0, 0)
    # The thumbnail stands beside it.
    assert sheet.shape[1] > whole.shape[1] + 150


@pytest.mark.parametrize(("width", "height"), [(1, 4000), (4000, 1), (6000, 4000), (3, 3)])
def test_no_picture_is_larger_than_a_page(width, height):
    plan = ImagePlan(embedded=9, tokens=9, size=Size(width * 4, height * 4), grid=Grid(64, 2), thumbnail=True)
    sheet = drawn(width, height, plan)
    assert max(sheet.shape) < 1300


@pytest.mark.parametrize("count", [1, 9, 48, 49, 768])
def test_frames_of_any_number_are_one_page(count):
    frames = np.zeros((count, 90, 160, 3), np.uint8)
    times = [i / 2 for i in range(count)]
    plan = VideoPlan(embedded=9, tokens=9, frames=count, size=Size(160, 90))
    png = draw_video(pack(frames, Modality.VIDEO, {}), plan, times, 9)
    sheet = opened(png)
    black = int((sheet == 0).all(axis=2).sum())
    shown = round(black / (160 * 90))
    assert shown == min(count, -(-count // -(-count // 48)))
    assert max(sheet.shape) < 1500
    assert len(png) < 200_000


async def test_an_estimate_draws_what_is_asked_for(gateway, worker):
    parts = [picture(640, 480), CLIP, SOUND]
    plain = await gateway.post(chat(worker.card.model, *parts), "/v1/estimate")
    answer = await gateway.post(chat(worker.card.model, *parts), "/v1/estimate?preview=true")
    assert answer.status == 200, answer.body
    found = answer.json
    image, video, sound = (part.pop("preview") for part in found["parts"])
    assert sound is None
    for preview in (image, video):
        kind, _, data = preview.partition(",")
        assert kind == "data:image/png;base64"
        assert opened(base64.b64decode(data)).size
    without = plain.json
    assert [part.pop("preview") for part in without["parts"]] == [None, None, None]
    assert found == without
    services = gateway.app.state.services
    assert services.stage.memory.in_decode == 0


async def test_what_nobody_can_plan_is_not_drawn(gateway, worker, worker_busy):
    await of_model(gateway, worker, {})
    answer = await gateway.post(chat(worker.card.model, picture(64, 48)), "/v1/estimate?preview=true")
    assert (answer.status, answer.json["parts"][0]["preview"]) == (200, None)
    assert answer.json["parts"][0]["least_tokens"] is None


async def test_an_estimate_says_how_few_tokens_there_can_be_and_which_budget_fits(gateway, worker):
    parts = [picture(900, 900)] * 4
    answer = await gateway.post(chat(worker.card.model, *parts, max_tokens=3500), "/v1/estimate")
    found = answer.json
    assert found["fits"] is False  # 1024 tokens of media, in a context of 4096
    assert {part["least_tokens"] for part in found["parts"]} == {16}
    budget = found["fitting_budget"]
    assert 4 * 16 <= budget < 4 * 256
    body = chat(worker.card.model, *parts, max_tokens=3500, visual_token_budget=budget)
    fitting = (await gateway.post(body, "/v1/estimate")).json
    assert fitting["prompt_tokens"] + 3500 <= worker.card.max_model_len
    assert fitting["fitting_budget"] is None
    nothing = await gateway.post(chat(worker.card.model, *parts, max_tokens=4090), "/v1/estimate")
    assert (nothing.json["fits"], nothing.json["fitting_budget"]) == (False, None)


async def test_of_a_family_that_is_told_the_least_is_that(gateway, worker):
    counts = family("idefics3")
    await of_model(gateway, worker, counts.to_json(), media={})
    answer = await gateway.post(chat(worker.card.model, picture(900, 900)), "/v1/estimate")
    [part] = answer.json["parts"]
    assert part["least_tokens"] == tokens_of(counts.told(counts.fewer()[0]).image(900, 900)) < part["tokens"]
    assert NANO.image(900, 900).tokens == 256
