"""LoRA adapters: loaded and dropped by the operator on all workers, asked for as models."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tessera.gateway import adapter_rollout
from tessera.queue import Adapter, Adapters
from tessera.worker.adapters import FollowedAdapters
from tests.gateway.scripted import ScriptedWorker, chat
from tests.worker.adapter_host import Host

KEY = "the-operators-own-key"
OPERATOR = {"Authorization": f"Bearer {KEY}"}


class Loader:
    """Has a scripted worker load what is recorded, and say so, as often as it is told to."""

    def __init__(self, worker, records, *, most_rank=16, **of_arguments):
        self.host = Host(**of_arguments)
        self.worker = worker
        worker.card = replace(worker.card, most_rank=most_rank)
        self.followed = FollowedAdapters(self.host, records, worker.card.model)

    async def look(self):
        await self.followed.look()
        self.worker.card = replace(self.worker.card, adapters=self.followed.told())
        await self.worker.announce()


@asynccontextmanager
async def looking(*loaders):
    async def look():
        while True:
            for loader in loaders:
                await loader.look()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(adapter_rollout, "LOOK_EVERY_S", 0.01)


@pytest.fixture
def records(worker, redis_client):
    return Adapters(redis_client, worker.broker.keys)


@pytest.fixture
async def loaders(worker, redis_client, settings, records):
    other = ScriptedWorker(redis_client, settings, worker.card)
    made = [Loader(worker, records), Loader(other, records)]
    for loader in made:
        await loader.look()
    return made


@pytest.fixture
async def gateway(start_gateway, settings, loaders, worker):
    more = {"admin_key": KEY, "aliases": f"small=tuned,base={worker.card.model}", "max_adapters": 2}
    return await start_gateway(settings.model_copy(update=more))


async def load(gateway, name="tuned", path="/adapters/1", headers=OPERATOR, **fields):
    return await gateway.post(
        {"lora_name": name, "lora_path": path, **fields}, "/v1/load_lora_adapter", headers=headers
    )


async def unload(gateway, name="tuned", headers=OPERATOR):
    return await gateway.post({"lora_name": name}, "/v1/unload_lora_adapter", headers=headers)


async def listed(gateway):
    return {m["id"]: m for m in (await gateway.get("/v1/models"))[1]["data"]}


async def test_all_workers_load_it_and_requests_for_it_go_to_its_base(gateway, loaders, worker):
    async with looking(*loaders):
        answer = await load(gateway)
    assert (answer.status, answer.body) == (200, b"Success: LoRA adapter 'tuned' added successfully.")
    assert [loader.host.loads for loader in loaders] == [["/adapters/1"]] * 2
    model = worker.card.model
    models = await listed(gateway)
    told = {name: (m["parent"], m["alias_of"], m["root"], m["workers"]) for name, m in models.items()}
    assert told == {
        model: (None, None, "/models/x", 2),
        "base": (None, model, "/models/x", 2),
        "tuned": (model, None, "/adapters/1", 2),
        "small": (model, "tuned", "/adapters/1", 2),
    }
    assert models["tuned"]["endpoints"] == models[model]["endpoints"]
    assert (await gateway.get("/v1/models/small"))[1] == models["small"]
    jobs = []

    async def answer_it(lease):
        jobs.append(lease.job)
        await worker.echo(lease)

    async with worker.serving(answer_it):
        for name in ("tuned", "small", "base", model):
            answer = await gateway.post(chat(name))
            assert answer.json["echo"]["model"] == (model if name in ("base", model) else "tuned")
    assert [(job.model, job.adapter) for job in jobs] == [(model, "tuned")] * 2 + [(model, "")] * 2
    assert await gateway.metric("tessera_adapter_requests_total", model=model, adapter="tuned") == 2
    assert await gateway.metric("tessera_adapter_workers", model=model, adapter="tuned", state="loaded") == 2


async def test_a_response_of_an_adapter_says_so_from_the_beginning(gateway, loaders, worker):
    async with looking(*loaders):
        await load(gateway)
    answer = await gateway.post({"model": "small", "input": "Hello", "background": True}, "/v1/responses")
    assert (answer.json["status"], answer.json["model"]) == ("queued", "tuned")
    assert (await worker.take()).job.adapter == "tuned"


async def test_an_estimate_is_of_the_base(gateway, loaders, worker):
    async with looking(*loaders):
        await load(gateway)
    answer = await gateway.post(chat("tuned"), "/v1/estimate")
    assert (answer.status, answer.json["model"]) == (200, worker.card.model)


async def test_a_dropped_one_is_gone_from_everywhere(gateway, loaders):
    async with looking(*loaders):
        await load(gateway)
        answer = await unload(gateway)
        assert (answer.status, answer.body) == (200, b"Success: LoRA adapter 'tuned' removed successfully.")
        assert [loader.host.loaded() for loader in loaders] == [{}, {}]
        assert not {"tuned", "small"} & set(await listed(gateway))
        for name in ("tuned", "small"):
            assert (await gateway.post(chat(name))).error["code"] == "model_not_found"
        answer = await unload(gateway)
        assert (answer.status, answer.error["code"]) == (404, "adapter_not_found")
        assert (await load(gateway)).status == 200, "and may come back"


async def test_one_that_a_worker_cannot_load_is_nowhere(gateway, loaders, records):
    loaders[1].host.missing = {"/adapters/1"}
    async with looking(*loaders):
        answer = await load(gateway)
        assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "adapter_not_loaded", "lora_path")
        assert "No adapter found for /adapters/1 (worker worker-" in answer.error["message"]
        assert await records.find("tuned") is None
    for loader in loaders:
        await loader.look()
    assert [loader.host.loaded() for loader in loaders] == [{}, {}]
    assert "tuned" not in await listed(gateway) or not (await listed(gateway))["tuned"]["workers"]


async def test_it_is_replaced_where_that_is_asked_for_and_stays_where_it_cannot_be(gateway, loaders, worker):
    async with looking(*loaders):
        await load(gateway)
        answer = await load(gateway)
        assert (answer.status, answer.error["code"]) == (400, "adapter_already_loaded")
        assert (await load(gateway, path="/adapters/2")).error["code"] == "adapter_already_loaded"
        assert (await load(gateway, path="/adapters/2", load_inplace=True)).status == 200
        assert (await listed(gateway))["tuned"]["root"] == "/adapters/2"
        loaders[0].host.missing = {"/adapters/3"}
        assert (await load(gateway, path="/adapters/3", load_inplace=True)).error["code"] == "adapter_not_loaded"
    for loader in loaders:
        await loader.look()
        assert loader.host.loaded() == {"tuned": "/adapters/2"}


async def test_whoever_does_not_wait_long_enough_asks_again(start_gateway, settings, loaders):
    impatient = await start_gateway(settings.model_copy(update={"admin_key": KEY, "adapter_load_timeout_s": 0.3}))
    async with looking(loaders[0]):
        answer = await load(impatient)
    assert (answer.status, answer.error["code"]) == (503, "adapter_pending")
    assert "of 2 workers" in answer.error["message"]
    async with looking(*loaders):
        patient = await start_gateway(settings.model_copy(update={"admin_key": KEY}))
        answer = await load(patient)
        assert answer.status == 200 or answer.error["code"] == "adapter_already_loaded", "they may be done by now"
        assert (await load(patient)).error["code"] == "adapter_already_loaded"
    answer = await unload(impatient)
    assert (answer.status, answer.error["code"]) == (503, "adapter_pending")
    async with looking(*loaders):
        answer = await unload(patient)
        assert answer.status == 200 or answer.error["code"] == "adapter_not_found", "they may be done by now"
        assert (await unload(patient)).error["code"] == "adapter_not_found"


async def test_those_of_workers_own_arguments_are_models_that_nobody_drops(start_gateway, settings, worker, records):
    await Loader(worker, records, static="/by/argument").look()
    gateway = await start_gateway(settings.model_copy(update={"admin_key": KEY}))
    model = (await listed(gateway))["static"]
    assert (model["parent"], model["root"]) == (worker.card.model, "/by/argument")
    for answer in (await unload(gateway, "static"), await load(gateway, "static", load_inplace=True)):
        assert (answer.status, answer.error["param"]) == (400, "lora_name")
        assert "--lora-modules" in answer.error["message"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"lora_name": None}, "lora_name", "missing_required_parameter"),
        ({"lora_name": ""}, "lora_name", "invalid_value"),
        ({"lora_name": 7}, "lora_name", "invalid_value"),
        ({"lora_name": "a\nb"}, "lora_name", "invalid_value"),
        ({"lora_name": " a"}, "lora_name", "invalid_value"),
        ({"lora_name": "x" * 257}, "lora_name", "invalid_value"),
        ({"lora_name": "small"}, "lora_name", "invalid_value"),
        ({"lora_name": "base"}, "lora_name", "invalid_value"),
        ({"lora_path": None}, "lora_path", "missing_required_parameter"),
        ({"lora_path": "/" + "x" * 4096}, "lora_path", "invalid_value"),
        ({"load_inplace": "yes"}, "load_inplace", "invalid_value"),
        ({"is_3d_lora_weight": 1}, "is_3d_lora_weight", "invalid_value"),
        ({"base_model_name": 7}, "base_model_name", "invalid_value"),
        ({"base_model_name": "nobody"}, "base_model_name", "model_not_found"),
    ],
)
async def test_what_cannot_be_an_adapter(gateway, records, fields, param, code):
    body = {"lora_name": "tuned", "lora_path": "/adapters/1", **fields}
    answer = await gateway.post(body, "/v1/load_lora_adapter", headers=OPERATOR)
    assert (answer.error["param"], answer.error["code"]) == (param, code)
    assert await records.find(str(fields.get("lora_name", "tuned"))) is None


async def test_the_base_has_to_be_one_that_takes_adapters_and_be_named_where_there_are_several(
    gateway, loaders, worker, redis_client, settings, records
):
    model = worker.card.model
    answer = await load(gateway, model)
    assert (answer.error["param"], answer.status) == ("lora_name", 400)
    plain = ScriptedWorker(
        redis_client, settings, replace(worker.card, model=f"{model}-plain", most_rank=0, adapters={})
    )
    await plain.announce()
    answer = await load(gateway, base_model_name=plain.card.model)
    assert (answer.status, answer.error["code"]) == (400, "adapters_unsupported")
    assert "--enable-lora" in answer.error["message"]
    async with looking(*loaders):
        assert (await load(gateway)).status == 200, "there is but one that takes any"
        assert (await load(gateway, "second", base_model_name="base")).status == 200
        answer = await load(gateway, "third", base_model_name="tuned")
        assert (answer.status, answer.error["param"]) == (400, "base_model_name")
        answer = await load(gateway, "third")
        assert (answer.status, answer.error["code"]) == (429, "adapters_quota_exceeded")
        third = ScriptedWorker(redis_client, settings, replace(plain.card, model=f"{model}-third"))
        async with looking(Loader(third, records)):
            await Loader(third, records).look()
            answer = await load(gateway, "third")
            assert (answer.error["param"], answer.error["code"]) == ("base_model_name", "missing_required_parameter")
            answer = await load(gateway, load_inplace=True, base_model_name=third.card.model)
            assert f"an adapter of the model `{model}`" in answer.error["message"]
    for loader in loaders:
        await loader.worker.withdraw()
    await third.withdraw()
    answer = await load(gateway, base_model_name="base")
    assert (answer.status, answer.error["code"]) == (503, "no_worker")


async def test_two_that_change_the_same_one(gateway, records, loaders, worker, monkeypatch):
    adapter = Adapter("tuned", worker.card.model, "/adapters/9")

    async def in_between(name):
        await records.replace("tuned", None, adapter, most=9)

    monkeypatch.setattr(gateway.app.state.services.adapters, "find", in_between)
    answer = await load(gateway)
    assert (answer.status, answer.error["code"]) == (503, "adapter_pending")
    assert await records.find("tuned") == adapter


async def test_only_the_operator(gateway, start_gateway, settings):
    for headers in ({}, {"Authorization": "Bearer other"}):
        for answer in (await load(gateway, headers=headers), await unload(gateway, headers=headers)):
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    without = await start_gateway(settings)
    assert (await load(without)).error["code"] == "administration_off"
