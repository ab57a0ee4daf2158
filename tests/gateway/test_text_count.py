"""Text is counted with the model's own tokenizer and chat template, where its worker announces them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tessera.gateway.text_ratio import USUAL, TextRatios
from tessera.prompt import PromptFiles, TemplateFile
from tessera.queue import Data, End, PromptStore
from tests.gateway.prompts import COUNTER, FILES, announce
from tests.gateway.scripted import DOCUMENT, ScriptedWorker, chat
from tests.gateway.test_planning import CLIP, NANO, PICTURE

PATH = "/v1/estimate"


@pytest.fixture
async def card(card, redis_client, settings):
    limits = {"image": 4, "video": 4, "audio": 4}
    planned = replace(card, limits=limits, plan=NANO.to_json(), media={"video_sampling": "qwen2_vl"})
    return await announce(redis_client, settings, planned)


async def estimated(gateway, body):
    answer = await gateway.post(body, PATH)
    assert answer.status == 200, answer.body
    return answer.json


async def test_text_and_media_make_the_sum(gateway, worker):
    body = chat(worker.card.model, "What is it?", PICTURE, {"type": "text", "text": "東京 & more"}, CLIP)
    found = await estimated(gateway, body)
    text = COUNTER.chat(body, {(0, 1): "image", (0, 3): "video"}).tokens
    assert found["text"] == {"tokens": text, "exact": True, "at_most": text, "reason": None}
    assert found["prompt_tokens"] == text + sum(part["tokens"] for part in found["parts"])
    assert (found["exact"], found["fits"]) == (True, True)
    _, listed = await gateway.get("/v1/models")
    [model] = listed["data"]
    assert (model["text_counted_by"], model["media_counted_by"]) == ("tokenizer", "rules")


async def test_parts_without_a_type_and_files_are_media_too(gateway, worker):
    bare = {"image_url": PICTURE["image_url"]}
    data = {"type": "file", "file": {"file_data": PICTURE["image_url"]["url"]}}
    found = await estimated(gateway, chat(worker.card.model, bare, data, {"text": "Which?"}))
    alike = {"messages": [{"role": "user", "content": [None, None, {"type": "text", "text": "Which?"}]}]}
    assert found["text"]["tokens"] == COUNTER.chat(alike, {(0, 0): "image", (0, 1): "image"}).tokens
    assert found["exact"]


async def test_each_prompt_of_a_completion_is_counted(gateway, worker):
    prompts = ["Once upon a time", "There was <|im_end|> a cat", ""]
    found = await estimated(gateway, {"model": worker.card.model, "prompt": prompts})
    assert found["text"]["tokens"] == sum(COUNTER.prompt({}, prompt) for prompt in prompts)
    assert found["exact"]


@pytest.mark.parametrize("prompt", [[5.0, 6], [[5], [6.0]]])
async def test_tokens_are_no_text(gateway, worker, card, redis_client, settings, prompt):
    body = {"model": worker.card.model, "prompt": prompt}
    assert (await estimated(gateway, body))["text"]["tokens"] == 2
    await ScriptedWorker(redis_client, settings, replace(card, prompts="")).announce()
    await gateway.app.state.services.catalogue.refresh()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(body, "/v1/completions"))
        await worker.say(await worker.take(), DOCUMENT, Data(b"{}"), End({"prompt_tokens": 2}))


async def test_what_a_chat_calls_its_prompt_is_none(gateway, worker):
    body = chat(worker.card.model, "Hello")
    assert (await estimated(gateway, body | {"prompt": [1, 2]}))["text"] == (await estimated(gateway, body))["text"]


async def test_long_strings_of_large_bodies_are_counted_whole(gateway, worker):
    long = "The cat sat on the mat. " * 20_000
    tool = {"type": "function", "function": {"name": "look", "description": "Look! " * 400}}
    body = chat(worker.card.model, {"type": "text", "text": long}, PICTURE, tools=[tool])
    found = await estimated(gateway, body)
    assert found["text"]["tokens"] == COUNTER.chat(body, {(0, 1): "image"}).tokens
    assert found["fits"] is False


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chat_template": "{{ messages }}"}, "chat_template"),
        ({"truncate_prompt_tokens": 7}, "truncate_prompt_tokens"),
        ({"chat_template_kwargs": {"tokenize": True}}, "tokenize"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "exclude"),
    ],
)
async def test_what_changes_the_prompt_elsewhere_is_guessed_and_says_so(gateway, worker, fields, reason):
    found = await estimated(gateway, chat(worker.card.model, "x" * 400, **fields))
    assert (found["text"]["tokens"], found["text"]["exact"], found["exact"]) == (100, False, False)
    assert reason in found["text"]["reason"]
    assert 100 < found["text"]["at_most"] < 4096


async def test_a_template_that_goes_wrong(gateway, worker, card, redis_client, settings):
    bad = TemplateFile("{{ raise_exception('Only cats.') }}", "string")
    files = replace(FILES, template=bad)
    await ScriptedWorker(redis_client, settings, await announce(redis_client, settings, card, files)).announce()
    await gateway.app.state.services.catalogue.refresh()
    found = await estimated(gateway, chat(worker.card.model, "x" * 40))
    assert "Only cats." in found["text"]["reason"]


async def test_what_was_lost_is_loaded_once_it_is_announced_again(gateway, worker, card, redis_client, settings):
    store = PromptStore(redis_client, worker.broker.keys)
    await redis_client.delete(worker.broker.keys.prompts(card.prompts))
    body = chat(worker.card.model, "Hello")
    assert "not there" in (await estimated(gateway, body))["text"]["reason"]
    await store.announce(card.prompts, FILES.encode(), ttl_s=600)
    gateway.app.state.services.counters._failed.clear()  # rather than to wait until it is tried again
    assert (await estimated(gateway, body))["exact"]
    await redis_client.delete(worker.broker.keys.prompts(card.prompts))
    assert (await estimated(gateway, body))["exact"]  # it is kept


async def test_many_at_once_load_it_once(gateway, worker):
    counters = gateway.app.state.services.counters
    async with asyncio.TaskGroup() as tasks:
        loads = [tasks.create_task(counters.of(worker.card)) for _ in range(20)]
    assert len({id(load.result()) for load in loads}) == 1


async def test_no_more_models_are_kept_than_there_is_room_for(gateway, worker, card, redis_client, settings):
    counters = gateway.app.state.services.counters
    for number in range(6):
        other = await announce(redis_client, settings, card, replace(FILES, defaults={"number": number}))
        await counters.of(other)
    assert len(counters._loaded) == 4
    assert counters.loaded(card) is None
    assert counters.loaded(other) is not None


async def test_of_models_without_a_tokenizer_the_ratio_is_learnt(gateway, worker, card, redis_client, settings):
    await ScriptedWorker(redis_client, settings, replace(card, prompts="")).announce()
    await gateway.app.state.services.catalogue.refresh()
    body = chat(worker.card.model, "y" * 1000)
    assert (await estimated(gateway, body))["text"]["tokens"] == 250
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(body))
        await worker.say(await worker.take(), DOCUMENT, Data(b"{}"), End({"prompt_tokens": 500}))
    assert (await estimated(gateway, body))["text"]["tokens"] == 500


def test_ratios_follow_and_are_bounded():
    ratios = TextRatios()
    assert ratios.bytes_per_token("m") == USUAL
    ratios.learn("m", 900, 3)  # mostly template
    assert ratios.bytes_per_token("m") == USUAL
    for _ in range(1000):
        ratios.learn("m", 300, 100)
    assert ratios.bytes_per_token("m") == pytest.approx(3)
    for number in range(2000):
        ratios.learn(str(number), 300, 100)
    assert ratios.bytes_per_token("m") == USUAL
    assert len(ratios._sums) == 1024


def test_what_is_announced_is_read_again():
    assert PromptFiles.decode(FILES.encode()) == FILES
