from __future__ import annotations

import re

from tests.gateway.scripted import chat
from tests.polling import eventually

SERIES = [
    "tessera_requests_total",
    "tessera_requests_open",
    "tessera_time_to_first_token_seconds_bucket",
    "tessera_inter_token_seconds_bucket",
    "tessera_request_seconds_bucket",
    "tessera_queue_wait_seconds_bucket",
    "tessera_tokens_total",
    "tessera_queue_depth",
    "tessera_jobs_running",
    "tessera_workers",
]


async def test_readiness_follows_the_workers(start_gateway, settings, redis_client, worker):
    gateway = await start_gateway(settings)
    model, state = worker.card.model, {"redis": "ok", "media_sandbox": "off"}
    assert await gateway.get("/readyz") == (200, {**state, "ready": True, "workers": {model: 1}})
    await worker.withdraw()
    assert await gateway.get("/readyz") == (503, {**state, "ready": False, "workers": {model: 0}})
    await worker.announce()
    assert (await gateway.get("/readyz"))[0] == 200
    await worker.announce(ttl_s=0.001)  # and is silent from then on

    async def unready():
        return (await gateway.get("/readyz"))[0] == 503

    await eventually(unready, "the worker's announcement runs out")
    await worker.retire()
    assert await gateway.get("/readyz") == (503, {**state, "ready": False, "workers": {}})


async def test_probers_of_vllm_hear_whether_a_worker_serves_a_model(gateway, worker):
    async def status(method, path):
        async with gateway.http.request(method, gateway.url + path) as response:
            return response.status

    async def statuses():
        return {await status(*asked) for asked in [("GET", "/health"), ("GET", "/ping"), ("POST", "/ping")]}

    assert await statuses() == {200}
    await worker.withdraw()
    assert await statuses() == {503}


async def test_every_promised_series_is_there(gateway, worker):
    model = worker.card.model
    async with worker.serving(worker.echo):
        await gateway.post(chat(model, stream=True))
        await gateway.post(chat(model))
    text = await gateway.metrics()
    names = {re.split(r"[{ ]", line)[0] for line in text.splitlines()}
    assert set(SERIES) <= names
    labels = {"model": model, "endpoint": "/v1/chat/completions", "status": "200", "code": ""}
    assert await gateway.metric("tessera_requests_total", **labels) == 2
    assert await gateway.metric("tessera_tokens_total", model=model, kind="prompt") == 14
    assert await gateway.metric("tessera_tokens_total", model=model, kind="completion") == 6
    assert await gateway.metric("tessera_workers", model=model) == 1
    assert await gateway.metric("tessera_requests_open") == 0


async def test_what_clients_make_up_adds_no_series(gateway, worker):
    async def series():
        return {
            line.rpartition(" ")[0] for line in (await gateway.metrics()).splitlines() if line.startswith("tessera")
        }

    await gateway.post(chat("made-up"))
    before = await series()
    for i in range(10):
        await gateway.post(chat(f"made-up-{i}"))
        await gateway.post(chat(f"made-up-{i}"), f"/made/up/{i}")
        await gateway.post(chat(f"made-up-{i}"), "/v1/chat/completions\n")
        await gateway.get(f"/v1/models/made-up-{i}")
    assert await series() == before


async def test_the_gauges_of_a_retired_model_go(gateway, worker):
    model = worker.card.model
    assert await gateway.metric("tessera_workers", model=model) == 1
    await worker.retire()
    await gateway.get("/readyz")
    text = await gateway.metrics()
    assert not re.search(rf'tessera_(workers|queue_depth|jobs_running){{model="{model}"', text)
