"""One trace from the client through gateway, queue and workers, whoever dies on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tessera.settings import SIMULATED, Settings
from tessera.worker.replica import Replica
from tests.e2e.media import image_part
from tests.gateway.scripted import chat
from tests.polling import eventually
from tests.telemetry.collector import Collector, collector
from tests.worker.simulated.worker_process import worker_process

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CLIENT}-01", "baggage": "team=a"}
TOKENS = 40


@pytest.fixture
async def traces() -> AsyncIterator[Collector]:
    async with collector() as made:
        yield made


@pytest.fixture
def traced(settings: Settings, traces: Collector) -> Settings:
    more = {
        "engine": SIMULATED, "simulated_answer_tokens": TOKENS, "simulated_decode_step_ms": 100.0, "lease_s": 3.0,
        "otlp_endpoint": traces.url, "log_format": "json",
    }  # fmt: skip
    return settings.model_copy(update=more)


async def test_one_request_that_was_resumed_once(start_gateway, traced, traces, tmp_path: Path):
    own = Settings(**{name: getattr(traced, name) for name in traced.model_fields_set | {"otlp_endpoint", "engine"}})
    with worker_process(own, tmp_path / "first.log") as first:
        gateway = await start_gateway(traced)

        async def ready() -> bool:
            return (await gateway.get("/readyz"))[0] == 200

        await eventually(ready, "a worker serves", within_s=30)
        before = await gateway.metric("tessera_time_to_first_token_seconds_count", model=SIMULATED)
        asked = asyncio.create_task(gateway.post(chat(SIMULATED, image_part(), stream=True), headers=PARENT))

        async def begun() -> bool:
            return await gateway.metric("tessera_time_to_first_token_seconds_count", model=SIMULATED) > before

        await eventually(begun, "it is being answered", within_s=30)
        first.kill()
        second = Replica(own)
        await second.start()
        try:
            answer = await asked
        finally:
            await second.stop()
        assert answer.status == 200
        assert answer.body.endswith(b"data: [DONE]\n\n")

        def complete() -> bool:
            return {"POST /v1/chat/completions", "worker"} <= {span.name for span in traces.of(TRACE)}

        await eventually(complete, "the trace is there", within_s=30)
    root, *inner = traces.of(TRACE)
    assert (root.name, root.kind, root.parent) == ("POST /v1/chat/completions", "SERVER", CLIENT)
    assert {span.parent for span in inner} == {root.id}
    names = [span.name for span in inner]
    assert [name for name in names if name != "queue"] == ["body", "media", "enqueue", "worker"]
    # The worker that died told nothing but, if it still could, how long the job had waited for it.
    assert names.count("queue") in (1, 2)
    worker = inner[-1]
    assert (worker.name, worker.kind, worker.error) == ("worker", "CONSUMER", None)
    assert worker.attributes["tessera.attempt"] == 2
    assert worker.attributes["tessera.resumed_at"] > 0
    assert root.attributes["gen_ai.usage.output_tokens"] == TOKENS
    known = {
        "http.response.status_code": 200, "gen_ai.operation.name": "chat", "gen_ai.request.model": SIMULATED,
        "tessera.resumed": True,
    }  # fmt: skip
    assert known.items() <= root.attributes.items()
    for span in inner:
        # Times of the queue are Redis', to the millisecond.
        assert root.start_ns - 5_000_000 <= span.start_ns <= span.end_ns <= root.end_ns + 5_000_000, span


async def test_what_the_engine_is_told(start_gateway, traced, traces, worker):
    gateway = await start_gateway(traced)
    model, jobs = worker.card.model, []

    async def keep(lease):
        jobs.append(lease.job)
        await worker.echo(lease)

    async with worker.serving(keep):
        await gateway.post(chat(model), headers=PARENT)
        await gateway.post(chat(model), headers={**PARENT, "traceparent": f"00-{TRACE}-{CLIENT}-00"})
        await gateway.post(chat(model))
    told, unwanted, own = (job.trace for job in jobs)
    assert told["traceparent"].startswith(f"00-{TRACE}-")
    assert told["traceparent"] != PARENT["traceparent"]
    assert told["baggage"] == "team=a"
    assert unwanted["traceparent"].endswith("-00")
    assert own["traceparent"].endswith("-01")
    await eventually(lambda: len(traces.spans) >= 8, "spans of two requests")
    assert len({span.trace for span in traces.spans}) == 2
    assert len(traces.of(TRACE)) == 4, "of the one that wanted none there is nothing"


async def test_off_it_only_passes_on_what_clients_say(start_gateway, settings, worker):
    gateway = await start_gateway(settings)
    jobs = []

    async def keep(lease):
        jobs.append(lease.job)
        await worker.echo(lease)

    async with worker.serving(keep):
        await gateway.post(chat(worker.card.model), headers=PARENT)
        await gateway.post(chat(worker.card.model))
    assert [dict(job.trace) for job in jobs] == [PARENT, {}]


async def test_a_collector_that_is_away_costs_no_request(start_gateway, traced, traces, worker):
    gateway = await start_gateway(traced)
    traces.refuses = True
    async with worker.serving(worker.echo):
        for _ in range(3):
            assert (await gateway.post(chat(worker.card.model))).status == 200
        traces.refuses = False
        await eventually(lambda: len(traces.spans) >= 12, "they are told later")
        failed = await gateway.post({"model": worker.card.model, "messages": []})
    assert failed.status == 400
    await eventually(lambda: len(traces.spans) >= 13, "the failure, too")
    root = traces.spans[-1]
    assert (root.attributes["error.type"], root.error) == (failed.error["code"], None)


OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
TIMES = ("tessera_time_to_first_token_seconds", "tessera_queue_wait_seconds", "tessera_request_seconds")


async def exemplars(gateway, model: str) -> dict[str, set[str]]:
    """The traces that the histograms of a model name, by the histogram."""
    async with gateway.http.get(f"{gateway.url}/metrics", headers=OPENMETRICS) as response:
        assert response.content_type == "application/openmetrics-text"
        text = await response.text()
    found = {}
    for family in text_string_to_metric_families(text):
        samples = [s for s in family.samples if s.labels.get("model") == model and s.exemplar]
        found |= {family.name: {s.exemplar.labels["trace_id"] for s in samples}} if samples else {}
    return found


async def test_histograms_name_traces_for_whom_asks_for_openmetrics(start_gateway, traced, worker):
    gateway = await start_gateway(traced.model_copy(update={"trace_percent": 0.0}))
    model = worker.card.model
    async with worker.serving(worker.echo):
        await gateway.post(chat(model, stream=True))
        assert await exemplars(gateway, model) == {}, "none of a trace that nobody is told of"
        await gateway.post(chat(model, stream=True), headers=PARENT)

    async def named() -> bool:
        # The last of them is counted when the client already has its answer.
        return await exemplars(gateway, model) == {name: {TRACE} for name in TIMES}

    await eventually(named, "each histogram names the trace")
    assert TRACE not in await gateway.metrics(), "others get plain text"


async def test_without_traces_histograms_name_none(start_gateway, settings, worker):
    gateway = await start_gateway(settings)
    async with worker.serving(worker.echo):
        await gateway.post(chat(worker.card.model, stream=True), headers=PARENT)
    assert await exemplars(gateway, worker.card.model) == {}
