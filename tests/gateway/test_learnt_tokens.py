"""What engines have counted is remembered, and used where nothing else is known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tessera.gateway.learnt_tokens import LearntTokens, kind_of_item
from tessera.gateway.media_options import MediaOptions
from tessera.media import MediaItem, MediaSpec, Modality
from tessera.queue import ITEM_COUNT_PATH, Data, End, Head, ModelCard
from tests.gateway.prompts import announce
from tests.gateway.scripted import DOCUMENT, ScriptedWorker, chat, sent
from tests.gateway.test_planning import NANO, PICTURE, answered

PATH = "/v1/estimate"


@pytest.fixture
def card(card):
    return replace(card, limits={"image": 4, "video": 4, "audio": 4}, plan=NANO.to_json())


@pytest.fixture
async def unknown(worker, card, redis_client, settings, gateway):
    """A worker of a model whose rules nobody knows."""
    announced = await announce(redis_client, settings, replace(card, plan={}))
    worker = ScriptedWorker(redis_client, settings, announced)
    await worker.announce()
    await gateway.app.state.services.catalogue.refresh()
    return worker


async def part(gateway, worker, **fields):
    found = (await gateway.post(chat(worker.card.model, "What?", PICTURE, **fields), PATH)).json
    return found["parts"][0], found


async def test_a_contradicted_plan_gives_way_to_what_was_counted(gateway, worker):
    await answered(gateway, worker, PICTURE, PICTURE, counted={"image": 46})
    told, _ = await part(gateway, worker)
    assert (told["tokens"], told["exact"]) == (23, True)
    assert told["planned_size"] == {"width": 224, "height": 224}
    other = chat(worker.card.model, PICTURE, mm_processor_kwargs={"use_audio_in_video": True})
    assert (await gateway.post(other, PATH)).json["parts"][0]["tokens"] == 23  # it is no video


async def test_a_worker_is_asked_once_for_what_nobody_knows(gateway, unknown):
    asked = []

    async def count(lease):
        asked.append((lease.job.path, sent(lease)))
        await unknown.say(lease, DOCUMENT, Data(json.dumps({"tokens": 77}).encode()), End({}))

    async with unknown.serving(count):
        for _ in range(3):
            told, found = await part(gateway, unknown)
            assert (told["tokens"], told["exact"], told["reason"]) == (77, True, None)
            assert (found["exact"], found["fits"], found["planned_as"]) == (True, True, None)
    [(path, question)] = asked
    assert path == ITEM_COUNT_PATH
    assert question["modality"] == "image"
    assert question["url"].startswith("tessera-media:")
    _, listed = await gateway.get("/v1/models")
    assert [model["media_counted_by"] for model in listed["data"]] == ["processor"]


@pytest.mark.parametrize(
    ("status", "document", "reason"),
    [
        (400, {"error": {"message": "The model's processor refuses it: too small"}}, "too small"),
        (404, {"detail": "Not Found"}, "cannot count"),
        (200, {"tokens": "many"}, "cannot count"),
    ],
)
async def test_a_worker_that_cannot_tell(gateway, unknown, status, document, reason):
    async def refuse(lease):
        head = Head(status, "application/json")
        await unknown.say(lease, head, Data(json.dumps(document).encode()), End({}))

    async with unknown.serving(refuse):
        told, found = await part(gateway, unknown)
    assert (told["tokens"], told["exact"], found["fits"]) == (None, False, None)
    assert reason in told["reason"]


async def test_answers_teach_what_a_worker_need_not_be_asked(gateway, unknown):
    await answered(gateway, unknown, PICTURE, PICTURE, counted={"image": 90})
    told, found = await part(gateway, unknown)
    assert (told["tokens"], found["exact"]) == (45, True)


def kind(name: str, **changes):
    card = replace(ModelCard(name, "", 1), **changes)
    item = MediaItem(Modality.IMAGE, "d", (2, 3, 3), 0, {})
    return kind_of_item(card, item, MediaOptions(MediaSpec(), sound_of_videos=False))


def test_of_several_kinds_the_one_that_is_left_is_learnt():
    learnt = LearntTokens()
    learnt.learn({"image": ["a", "b"]}, {"image": 10})
    assert learnt.get("a") is None
    learnt.put("a", 3)
    learnt.learn({"image": ["a", "b", "b"]}, {"image": 13})
    assert learnt.get("b") == 5
    learnt.learn({"image": ["c", "c"]}, {"image": 7})  # not twice the same
    learnt.learn({"image": ["c"]}, {})
    assert learnt.get("c") is None
    learnt.learn({"image": ["a"]}, {"image": 4})  # another version of the engine
    assert learnt.get("a") == 4


def test_what_was_not_used_for_longest_is_forgotten():
    learnt = LearntTokens(most=2)
    for name in "ab":
        learnt.put(name, 1)
    learnt.get("a")
    learnt.put("c", 1)
    assert [learnt.get(name) for name in "abc"] == [1, None, 1]


def test_another_model_is_another_kind():
    assert kind("m") == kind("m")
    assert len({kind("m"), kind("n"), kind("m", root="x"), kind("m", prompts="x")}) == 4
