"""Other names of models that the operator sets while everything runs."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace

import openai
import pytest
from structlog.testing import capture_logs

from tessera.gateway import batch_runner
from tessera.queue import Aliases, Data, End
from tests.gateway.scripted import DOCUMENT, USAGE, ScriptedWorker, chat
from tests.polling import eventually

KEY = "the-operators-own-key"
OPERATOR = {"Authorization": f"Bearer {KEY}"}
PATH = "/admin/v1/aliases"


@pytest.fixture
def settings(settings, tmp_path):
    more = {"admin_key": KEY, "files_store_url": (tmp_path / "store").as_uri(), "lease_s": 2.0, "max_aliases": 3}
    return settings.model_copy(update=more)


@pytest.fixture
async def second(worker, redis_client, settings):
    """A worker of another model."""
    card = replace(worker.card, model=f"{worker.card.model}-v2", max_model_len=2048, limits={"image": 1})
    second = ScriptedWorker(redis_client, settings, card)
    await second.announce()
    return second


@pytest.fixture
def both(worker, second):
    return worker.card.model, second.card.model


async def operate(gateway, method, name="", body=None, headers=OPERATOR):
    path = f"{PATH}/{name}" if name else PATH
    async with gateway.http.request(method, gateway.url + path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def put(gateway, name, **targets):
    return await operate(gateway, "PUT", name, {"targets": targets})


async def stands(gateway, name, targets):
    async def there():
        models = {m["id"]: m["targets"] for m in (await gateway.get("/v1/models"))[1]["data"]}
        return models.get(name) == targets

    await eventually(there, f"{name} stands for {targets}")


def serving(worker, second):
    """Both answer with what they were asked."""

    class Both:
        async def __aenter__(self):
            self.open = [worker.serving(worker.echo), second.serving(second.echo)]
            for each in self.open:
                await each.__aenter__()

        async def __aexit__(self, *how):
            for each in reversed(self.open):
                await each.__aexit__(*how)

    return Both()


async def meant(gateway, name, **fields):
    answer = await gateway.post(chat(name, **fields))
    assert answer.status == 200, answer.body
    return answer.json["echo"]["model"]


async def test_what_is_set_at_one_gateway_counts_at_all_and_is_told_everywhere(
    start_gateway, settings, gateway, worker, second, both
):
    other = await start_gateway(settings)
    old, new = both
    status, told = await put(gateway, "org/gpt", **{old: 60, new: 40})
    assert status == 200
    assert (told["id"], told["targets"], told["workers"]) == ("org/gpt", {old: 60, new: 40}, {old: 1, new: 1})
    assert (told["set_by"], told["shadows"], told["changed_at"] > 0) == ("operator", False, True)
    await stands(other, "org/gpt", {old: 60, new: 40})
    for each in (gateway, other):
        assert await operate(each, "GET", "org/gpt") == (200, told)
        assert await operate(each, "GET") == (200, {"object": "list", "data": [told]})
        _, model = await each.get("/v1/models/org/gpt")
        assert (model["id"], model["alias_of"], model["targets"]) == ("org/gpt", None, {old: 60, new: 40})
        assert (model["max_model_len"], model["limits"], model["workers"]) == (2048, {"image": 1}, 2)
        assert (model["modalities"], model["parent"]) == (["text", "image"], None)
    found = Counter()
    async with serving(worker, second):
        with capture_logs() as logs:
            for _ in range(60):
                found[await meant(other, "org/gpt")] += 1
    assert set(found) == {old, new}
    assert await gateway.metric("tessera_alias_requests_total", alias="org/gpt", target=new) == found[new]
    assert await gateway.metric("tessera_requests_total", model=new, status="200") == found[new]
    assert not [line for line in logs if line["log_level"] == "error"]
    assert await operate(gateway, "DELETE", "org/gpt") == (200, {"id": "org/gpt", "object": "alias", "deleted": True})
    assert (await gateway.post(chat("org/gpt"))).error["code"] == "model_not_found"
    assert (await operate(gateway, "GET", "org/gpt"))[1]["error"]["code"] == "alias_not_found"


async def test_the_log_tells_the_alias_and_what_it_stood_for(start_gateway, settings, worker, second, both):
    gateway = await start_gateway(settings.model_copy(update={"log_requests_percent": 100.0}))
    await put(gateway, "gpt", **{both[1]: 1})
    async with serving(worker, second):
        with capture_logs() as logs:
            await meant(gateway, "gpt")
            await meant(gateway, both[0])
    told = [
        (line["model"], line.get("alias"), line.get("target")) for line in logs if line["event"] == "request_answered"
    ]
    assert told == [(both[1], "gpt", both[1]), (both[0], None, None)]


@pytest.mark.parametrize("field", ["prompt_cache_key", "safety_identifier", "user"])
async def test_requests_that_belong_together_go_to_the_same_target(gateway, worker, second, both, field):
    await put(gateway, "gpt", **dict.fromkeys(both, 1))
    async with serving(worker, second):
        found = {n: {await meant(gateway, "gpt", **{field: f"k{n}"}) for _ in range(2)} for n in range(24)}
    assert all(len(each) == 1 for each in found.values())
    assert set.union(*found.values()) == set(both)


async def test_what_waits_stays_where_it_is(gateway, worker, second, both):
    old, new = both
    await put(gateway, "gpt", **{old: 1})
    waiting = [asyncio.create_task(gateway.post(chat("gpt"))) for _ in range(3)]

    async def queued():
        return await worker.waiting() == 3

    await eventually(queued, "three wait")
    await put(gateway, "gpt", **{new: 1})
    later = asyncio.create_task(gateway.post(chat("gpt")))
    async with serving(worker, second):
        answers = await asyncio.gather(*waiting, later)
    assert [answer.json["echo"]["model"] for answer in answers] == [old, old, old, new]


async def test_a_key_leads_to_the_answer_that_the_earlier_target_gave(gateway, worker, second, both):
    old, new = both
    await put(gateway, "gpt", **{old: 1})
    headers = {"Idempotency-Key": "k"}
    async with serving(worker, second):
        first = await gateway.post(chat("gpt"), headers=headers)
        await put(gateway, "gpt", **{new: 1})
        again = await gateway.post(chat("gpt"), headers=headers)
        other = await gateway.post(chat("gpt", seed=1), headers=headers)
    assert (again.headers["Idempotency-Replayed"], again.body) == ("true", first.body)
    assert other.error["code"] == "idempotency_key_reused"
    assert await second.waiting() == await second.running() == 0


async def test_a_response_is_continued_by_what_gave_it(gateway, worker, second, both):
    by_name = {worker.card.model: worker, second.card.model: second}
    await put(gateway, "gpt", **dict.fromkeys(both, 1))

    async def ask(**fields):
        asked = asyncio.create_task(gateway.post({"model": "gpt", "input": "Hello", **fields}, "/v1/responses"))
        taken = []

        async def leased():
            for each in by_name.values():
                taken.extend(await each.broker.lease(each.card.model, each.id, free=9, capacity=9, most=1))
            return bool(taken)

        await eventually(leased, "one has it")
        [lease] = taken
        model = lease.job.model
        message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": []}
        made = {"id": f"resp_{lease.job.id}", "object": "response", "status": "completed", "model": model}
        body = json.dumps({**made, "output": [message], "usage": None}).encode()
        await by_name[model].finish(lease, DOCUMENT, Data(body), End(USAGE))
        answer = await asked
        assert answer.status == 200, answer.body
        return answer.json["id"], answer.json["model"]

    for _ in range(4):
        previous, model = await ask()
        for _ in range(3):
            previous, again = await ask(previous_response_id=previous)
            assert again == model
    await put(gateway, "gpt", **{both[1]: 1})
    assert (await ask(previous_response_id=previous))[1] == both[1], "unless it is no target any more"


async def test_whatever_takes_a_name_takes_an_alias(gateway, worker, second, both):
    await put(gateway, "gpt", **{both[1]: 1})
    assert (await gateway.post(chat("gpt"), "/v1/estimate")).json["model"] == both[1]
    async with serving(worker, second):
        for path, body in (
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/embeddings", {"input": "x"}),
            ("/tokenize", {"prompt": "x"}),
            ("/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}),
        ):
            answer = await gateway.post({"model": "gpt", **body}, path)
            assert answer.json["echo"]["model"] == both[1], path


async def test_what_the_chosen_target_cannot_be_asked(gateway, worker, second, both):
    second.card = replace(second.card, tasks=["generate"])
    await second.announce()
    await put(gateway, "gpt", **{both[1]: 1})
    answer = await gateway.post({"model": "gpt", "input": "x"}, "/v1/embeddings")
    assert (answer.status, answer.error["code"]) == (400, "unsupported_endpoint")
    await put(gateway, "gpt", **dict.fromkeys(both, 1))
    _, model = await gateway.get("/v1/models/gpt")
    assert "/v1/embeddings" not in model["endpoints"], "it lists what all of them answer"
    assert "/v1/chat/completions" in model["endpoints"]


async def test_a_served_name_may_be_an_alias_and_then_means_itself_only_as_a_target(gateway, worker, second, both):
    old, new = both
    _, told = await put(gateway, old, **{old: 1, new: 0})
    assert told["shadows"]
    async with serving(worker, second):
        assert await meant(gateway, old) == old
        await put(gateway, old, **{new: 1})
        assert await meant(gateway, old) == new
        listed = [m["id"] for m in (await gateway.get("/v1/models"))[1]["data"]]
        assert sorted(listed) == sorted(both), "each name stands once"
        await operate(gateway, "DELETE", old)
        assert await meant(gateway, old) == old


async def test_one_of_the_settings_is_listed_and_gives_way(start_gateway, settings, worker, second, both):
    gateway = await start_gateway(settings.model_copy(update={"aliases": f"gpt={both[0]}"}))
    [told] = (await operate(gateway, "GET"))[1]["data"]
    assert (told["id"], told["set_by"], told["changed_at"]) == ("gpt", "setting", None)
    status, answer = await operate(gateway, "DELETE", "gpt")
    assert (status, "TESSERA_ALIASES" in answer["error"]["message"]) == (404, True)
    async with serving(worker, second):
        await put(gateway, "gpt", **{both[1]: 1})
        assert await meant(gateway, "gpt") == both[1]
        await operate(gateway, "DELETE", "gpt")
        assert await meant(gateway, "gpt") == both[0]


@pytest.mark.parametrize(
    ("targets", "status", "code", "param"),
    [
        (None, 400, "missing_required_parameter", "targets"),
        ({}, 400, "invalid_value", "targets"),
        ([], 400, "invalid_value", "targets"),
        ("OLD", 400, "invalid_value", "targets"),
        ({f"m{n}": 1 for n in range(17)}, 400, "invalid_value", "targets"),
        ({"OLD": 0}, 400, "invalid_value", "targets"),
        ({"OLD": -1}, 400, "invalid_value", "targets.OLD"),
        ({"OLD": 0.5}, 400, "invalid_value", "targets.OLD"),
        ({"OLD": True}, 400, "invalid_value", "targets.OLD"),
        ({"OLD": "90"}, 400, "invalid_value", "targets.OLD"),
        ({"OLD": 1_000_001}, 400, "invalid_value", "targets.OLD"),
        ({"OLD": 1, "nobody": 1}, 404, "model_not_found", "targets.nobody"),
        ({"known": 1}, 400, "invalid_value", "targets.known"),
        ({"gpt": 1}, 400, "invalid_value", "targets.gpt"),
    ],
)
async def test_what_it_cannot_stand_for(gateway, redis_client, both, targets, status, code, param):
    await put(gateway, "known", **{both[0]: 1})

    def named(text):
        return text.replace("OLD", both[0])

    body = json.loads(named(json.dumps({"targets": targets})))
    found, answer = await operate(gateway, "PUT", "gpt", body)
    assert (found, answer["error"]["code"], answer["error"]["param"]) == (status, code, named(param))
    services = gateway.app.state.services
    assert set(await Aliases(redis_client, services.broker.keys).all()) == {"known"}


async def test_names_that_it_cannot_have_and_how_many_there_may_be(gateway, both):
    for name in ("x" * 257, "a%07b", "%20a"):
        status, answer = await operate(gateway, "PUT", name, {"targets": {both[0]: 1}})
        assert (status, answer["error"]["param"]) == (400, "alias"), name
    for name in "abc":
        assert (await put(gateway, name, **{both[0]: 1}))[0] == 200
    status, answer = await put(gateway, "d", **{both[0]: 1})
    assert (status, answer["error"]["code"]) == (429, "aliases_quota_exceeded")
    assert (await put(gateway, "a", **{both[1]: 1}))[0] == 200, "it takes no more room"


async def test_only_the_operator(gateway, both):
    for headers in ({}, {"Authorization": "Bearer other"}):
        for method, name in (("GET", ""), ("GET", "a"), ("PUT", "a"), ("DELETE", "a")):
            status, answer = await operate(gateway, method, name, {"targets": {both[0]: 1}}, headers)
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


async def test_lines_of_a_batch_go_on_at_the_target_that_they_began_with(
    start_gateway, settings, gateway, worker, second, both, monkeypatch
):
    monkeypatch.setattr(batch_runner, "LOOK_EVERY_S", 0.1)
    old, new = both
    await put(gateway, "gpt", **{old: 1})
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": chat("gpt", f"question {n}")}
        for n in range(6)
    ]
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        file = await client.files.create(file=("in.jsonl", text), purpose="batch")
        how = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await client.batches.create(input_file_id=file.id, **how)

        async def all_wait():
            return (await worker.broker.census(old)).batch_waiting == 6

        await eventually(all_wait, "all of them wait")
        await put(gateway, "gpt", **{new: 1})
        # Its gateway ends, and another one goes on with it.
        other = await start_gateway(settings)
        await gateway.stop()
        async with openai.AsyncOpenAI(base_url=f"{other.url}/v1", api_key="x", max_retries=0) as later:
            begun = Counter()

            async def answer(lease):
                begun[lease.job.id] += 1
                await worker.echo(lease)

            async def over():
                return (await later.batches.retrieve(batch.id)).status == "completed"

            async with worker.serving(answer):
                await eventually(over, "the batch has ended", within_s=60)
        assert (len(begun), set(begun.values())) == (6, {1})
        assert (await second.broker.census(new)).batch_waiting == 0


async def test_a_batch_that_is_cancelled_cancels_what_waits_at_its_target(gateway, worker, second, both, monkeypatch):
    monkeypatch.setattr(batch_runner, "LOOK_EVERY_S", 0.1)
    await put(gateway, "gpt", **{both[1]: 1})
    line = {"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": chat("gpt")}
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        file = await client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
        how = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = await client.batches.create(input_file_id=file.id, **how)

        async def waits():
            return (await second.broker.census(both[1])).batch_waiting == 1

        await eventually(waits, "it waits")
        await client.batches.cancel(batch.id)

        async def over():
            return (await client.batches.retrieve(batch.id)).status == "cancelled"

        await eventually(over, "it is cancelled", within_s=60)
    assert (await second.broker.census(both[1])).batch_waiting == 0
