"""What only the operator may see: what became of any request."""

from __future__ import annotations

import asyncio

import pytest

from tessera.gateway.endpoints import ENDPOINTS
from tessera.queue import Data, End, Failure, spellings_of
from tests.e2e.media import image_part
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat, event

KEY = "the-operators-own-key"
OPERATOR = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def gateway(start_gateway, settings, worker):
    return await start_gateway(settings.model_copy(update={"admin_key": KEY, "api_key": "of-clients"}))


async def told(gateway, path, headers=OPERATOR):
    async with gateway.http.get(f"{gateway.url}/admin/v1{path}", headers=headers) as response:
        return response.status, await response.json()


async def ask(gateway, body):
    return await gateway.post(body, headers={"Authorization": "Bearer of-clients"})


async def test_a_request_with_an_image_that_a_second_worker_answers(gateway, worker):
    asked = asyncio.create_task(ask(gateway, chat(worker.card.model, image_part(), stream=True)))
    first = await worker.take()
    waiting = (await told(gateway, f"/requests/{first.job.id}"))[1]
    assert (waiting["state"], waiting["status"], waiting["tokens"]) == ("leased", None, {})
    assert waiting["body_bytes"] == len(first.job.body)
    await worker.broker.release(worker.card.model, [first], failed=True)
    second = await worker.take()
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 2, "multimodal_tokens": {"image": 4}}}
    await worker.say(second, STREAM, event("one"), Data(b"data: [DONE]\n\n"), End(usage, resumed=True))
    assert (await asked).status == 200
    status, explained = await told(gateway, f"/requests/chatcmpl-{first.job.id}")
    assert status == 200
    assert [h["what"] for h in explained["happenings"]] == [
        "queued", "taken", "engine_failed", "taken", "answer_began", "finished",
    ]  # fmt: skip
    assert [h["worker"] for h in explained["happenings"]] == [None, worker.id, worker.id, worker.id, None, None]
    assert sorted(h["at_ms"] for h in explained["happenings"]) == [h["at_ms"] for h in explained["happenings"]]
    [item] = explained["media"]
    assert (item["modality"], item["shape"][-1]) == ("image", 3)
    assert set(explained["gateway_ms"]) == {"body", "media"}
    assert explained["tokens"] == {"prompt": 7, "completion": 3, "cached": 2, "image": 4}
    known = {k: explained[k] for k in ("state", "status", "deliveries", "resumed", "tenant", "endpoint", "stream")}
    assert known == {
        "state": "finished", "status": 200, "deliveries": 2, "resumed": True, "tenant": "default",
        "endpoint": "/v1/chat/completions", "stream": True,
    }  # fmt: skip
    assert explained["gateway"] == gateway.app.state.services.gateway_id
    assert explained["body_bytes"] == 0
    assert explained["reply_entries"] == 4
    assert explained["forgotten_in_s"] > 0


async def test_by_which_alias_it_came(start_gateway, settings, worker):
    aliases = f"best={worker.card.model}"
    gateway = await start_gateway(settings.model_copy(update={"admin_key": KEY, "aliases": aliases}))
    for name, alias in (("best", "best"), (worker.card.model, "")):
        asked = asyncio.create_task(gateway.post(chat(name)))
        lease = await worker.take()
        await worker.finish(lease, DOCUMENT, Data(b"{}"), End())
        await asked
        explained = (await told(gateway, f"/requests/{lease.job.id}"))[1]
        assert (explained["model"], explained["alias"], explained["adapter"]) == (worker.card.model, alias, "")


async def test_requests_that_come_to_nothing(gateway, worker):
    asked = asyncio.create_task(ask(gateway, chat(worker.card.model)))
    lease = await worker.take()
    await worker.finish(lease, Failure("worker_lost", "It is gone."))
    await asked
    explained = (await told(gateway, f"/requests/{lease.job.id}"))[1]
    assert (explained["error"], explained["message"]) == ("worker_lost", "It is gone.")
    asked = asyncio.create_task(ask(gateway, chat(worker.card.model)))
    lease = await worker.take()
    await worker.finish(lease, DOCUMENT, Data(b"{}"), End(error=(400, "bad_request")))
    await asked
    explained = (await told(gateway, f"/requests/{lease.job.id}"))[1]
    assert (explained["status"], explained["error"]) == (400, "bad_request")
    asked = asyncio.create_task(ask(gateway, chat(worker.card.model)))
    lease = await worker.take()
    await worker.broker.release(worker.card.model, [lease], failed=False)
    await worker.broker.cancel(worker.card.model, lease.job.id)
    await asked
    explained = (await told(gateway, f"/requests/{lease.job.id}"))[1]
    assert [h["what"] for h in explained["happenings"]] == ["queued", "taken", "given_back", "cancelled"]
    assert (explained["state"], explained["deliveries"]) == ("cancelled", 0)


async def test_who_is_not_the_operator(gateway, start_gateway, settings):
    for headers in ({}, {"Authorization": "Bearer of-clients"}, {**OPERATOR, "x-api-key": "of-clients"}):
        for path in ("/requests/x", "/nothing"):
            status, answer = await told(gateway, path, headers)
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    for path in ("/admin", "/admin/"):
        async with gateway.http.get(gateway.url + path) as response:
            assert response.status == 401
    assert (await told(gateway, "/requests/x"))[1]["error"]["code"] == "request_not_found"
    assert (await told(gateway, "/requests/x%0a"))[1]["error"]["code"] == "request_not_found"
    assert (await ask(gateway, chat("m"))).error["code"] == "model_not_found"
    async with gateway.http.get(gateway.url + "/v1/models", headers=OPERATOR) as response:
        assert response.status == 401, "the operator is no client"


async def test_nobody_gets_in_where_there_is_no_key(start_gateway, settings):
    gateway = await start_gateway(settings)
    for headers in ({}, OPERATOR, {"x-api-key": ""}):
        status, answer = await told(gateway, "/requests/x", headers)
        assert (status, answer["error"]["code"]) == (403, "administration_off")
        assert "TESSERA_ADMIN_KEY" in answer["error"]["message"]


def test_an_answers_own_id_leads_to_its_request():
    for endpoint in ENDPOINTS:
        if endpoint.answers:
            assert "the-job" in spellings_of(f"{endpoint.answers}the-job"), endpoint.path
