"""An image is as many tokens as its part allows, whatever the model's processor does afterwards."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tessera.errors import VisualBudgetTooSmall
from tessera.gateway.visual_tokens import read_limit
from tessera.media import ImageResize, MediaItem, MediaSpec, Modality, RedisMediaStore, unpack
from tests.gateway.scripted import chat, sent
from tests.gateway.test_planning import NANO, SOUND, data_url
from tests.polling import eventually

RULE = ImageResize(28, 12544, 200704)
AT = ("messages", 0, "content", 1)


@pytest.fixture
def card(card):
    spec = MediaSpec(image_resize=RULE).to_json()
    return replace(card, limits={"image": 4, "audio": 1}, plan=NANO.to_json(), media=spec)


def picture(width, height, detail=None, **fields):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    url = {"url": data_url("image/png", buffer.getvalue())}
    return {"type": "image_url", "image_url": url if detail is None else {**url, "detail": detail}, **fields}


async def tokens(gateway, worker, *parts):
    answer = await gateway.post(chat(worker.card.model, *parts), "/v1/estimate")
    assert answer.status == 200, answer.body
    assert all(part["exact"] for part in answer.json["parts"])
    return [part["tokens"] for part in answer.json["parts"]]


async def test_low_is_a_quarter_of_what_the_model_takes(gateway, worker):
    parts = [picture(900, 900, detail) for detail in ("low", "high", "auto", None)]
    assert await tokens(gateway, worker, *parts) == [64, 256, 256, 256]


async def test_what_is_small_already_stays_as_it_is(gateway, worker):
    assert await tokens(gateway, worker, picture(112, 112, "low"), picture(112, 112, max_visual_tokens=200)) == [16, 16]


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


async def test_the_engine_gets_the_smaller_image_and_nothing_else(gateway, worker, redis_client, settings):
    part = picture(900, 900, "low", max_visual_tokens=30)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(chat(worker.card.model, part)))
        lease = await worker.take()
        [image] = sent(lease)["messages"][0]["content"]
        payload = await RedisMediaStore(redis_client, settings).get(image["uuid"])
        await worker.echo(lease)
    assert set(image) == {"type", "image_url", "uuid"}
    assert image["image_url"]["detail"] == "low"
    height, width, _ = unpack(payload)[1].shape
    assert (width * height // 28**2, width % 28, height % 28) == (25, 0, 0)


async def test_too_few_are_refused_with_the_least_that_works(gateway, worker):
    answer = await gateway.post(chat(worker.card.model, "x", picture(900, 600, max_visual_tokens=3)))
    assert (answer.status, answer.error["code"]) == (400, "visual_budget_too_small")
    assert answer.error["param"] == "messages[0].content[1]"
    least = int(answer.error["message"].rsplit(" ", 1)[1].rstrip("."))
    assert 3 < least < 30
    [few] = await tokens(gateway, worker, picture(900, 600, max_visual_tokens=least))
    assert few <= least
    answer = await gateway.post(chat(worker.card.model, "x", picture(900, 600, max_visual_tokens=least - 1)))
    assert answer.error["code"] == "visual_budget_too_small"
    assert await worker.waiting() == 0


@pytest.mark.parametrize(
    ("part", "where"),
    [
        (picture(9, 9, "medium"), ""),
        (picture(9, 9, ["low"]), ""),
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


async def test_a_model_whose_rule_is_not_known(gateway, worker):
    await replace_card(gateway, worker, media={})
    answer = await gateway.post(chat(worker.card.model, picture(90, 90, max_visual_tokens=64)))
    assert answer.error["param"] == "messages[0].content[0].max_visual_tokens"
    assert await tokens(gateway, worker, picture(300, 300, "low")) == [NANO.image(300, 300).tokens]


async def replace_card(gateway, worker, **changes):
    worker.card = replace(worker.card, **changes)
    await worker.announce()
    model = worker.card.model

    async def seen():
        await gateway.app.state.services.catalogue.refresh()
        return gateway.app.state.services.catalogue.require(model).card == worker.card

    await eventually(seen, "the new card")


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), most=st.integers(1, 300))
@settings(deadline=None, max_examples=300)
def test_what_is_let_through_is_within_the_limit_and_what_is_not_says_what_would_be(width, height, most):
    shown = shape(width, height, most)
    try:
        limit(most).check(shown, "p")
    except VisualBudgetTooSmall as error:
        least = int(str(error).rsplit(" ", 1)[1].rstrip("."))
        assert least > most
        limit(least).check(shape(width, height, least), "p")
        return
    if max(width, height) <= 200 * min(width, height):
        assert NANO.image(shown.shape[1], shown.shape[0]).tokens <= most


def limit(most):
    return read_limit(AT, Modality.IMAGE, None, most, RULE)


def shape(width, height, most):
    """The item that the media stage would make."""
    size = limit(most).spec(MediaSpec(image_resize=RULE)).image_resize.shrunk(width, height) or (width, height)
    return MediaItem(Modality.IMAGE, "", (size[1], size[0], 3), 0, {})
