"""What operators look at."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import openai
import pytest

from tests.deploy.prometheus_process import prometheus, those_with_data
from tests.deploy.test_dashboards import EXPRESSIONS
from tests.e2e.media import image_part, picture, text_part, user
from tests.polling import eventually_sync
from tests.stack import RunningStack, metric
from tests.telemetry.collector import Collector, Told

pytestmark = pytest.mark.e2e


def test_health(stack: RunningStack) -> None:
    assert stack.get("/livez")[0] == 200
    status, body = stack.get("/readyz")
    assert status == 200
    told = json.loads(body)
    assert told.pop("media_sandbox") in {"complete", "without landlock"}  # by the kernel
    assert told == {"ready": True, "redis": "ok", "workers": {stack.model: 1}}


def test_docs(stack: RunningStack) -> None:
    assert stack.get("/docs")[0] == 200


def test_metrics_move(stack: RunningStack, client: openai.OpenAI) -> None:
    names = [
        "tessera_requests_total",
        "tessera_time_to_first_token_seconds_count",
        "tessera_inter_token_seconds_count",
        "tessera_request_seconds_count",
        "tessera_queue_wait_seconds_count",
        "tessera_tokens_total",
    ]
    before = {name: stack.metric(name) for name in names}
    list(
        client.chat.completions.create(
            model=stack.model, messages=user(image_part(), text_part("Hi")), max_tokens=4, stream=True
        )
    )
    # The last of them are counted when the client already has its answer.
    for name in names:
        eventually_sync(lambda name=name: stack.metric(name) > before[name], f"{name} moved")  # type: ignore[misc]
    text = stack.get("/metrics")[1].decode()
    for kind in ("prompt", "completion", "image"):
        assert f'tessera_tokens_total{{kind="{kind}",model="{stack.model}"}}' in text
    assert stack.metric("tessera_queue_depth") == 0
    assert stack.metric("tessera_workers") == 1
    eventually_sync(lambda: stack.metric("tessera_workers_wanted") == 1, "the worker has asked its Ray")


def test_a_worker_tells_where_its_media_came_from_beside_what_vllm_tells(
    stack: RunningStack, client: openai.OpenAI
) -> None:
    def read() -> float:
        return stack.engine_metric("tessera_worker_media_reads_total")

    before = read()
    content = user(image_part(picture("#123457")), text_part("Hi"))
    client.chat.completions.create(model=stack.model, messages=content, max_tokens=1)
    assert read() > before
    assert metric(stack.worker_metrics(), "tessera_worker_media_reads_total") == read()
    assert "vllm:kv_cache_usage_perc" in stack.worker_metrics()

    def generated() -> float:
        return metric(stack.worker_metrics(), "vllm:generation_tokens_total")

    eventually_sync(lambda: generated() > 0, "what the engine counts is where Prometheus looks")
    assert stack.engine_metric("tessera_worker_media_kept_bytes") > 0


def test_every_graph_of_engines_shows_something(stack: RunningStack, client: openai.OpenAI, tmp_path: Path) -> None:
    empty = {expression for expression in EXPRESSIONS if "vllm:" in expression}
    assert empty
    with prometheus(stack.url, tmp_path) as address:

        def all_shown() -> bool:
            content = user(image_part(), text_part("Hi"))
            list(client.chat.completions.create(model=stack.model, messages=content, max_tokens=4, stream=True))
            empty.difference_update(those_with_data(address, empty))
            return not empty

        try:
            eventually_sync(all_shown, "every graph shows something", within_s=60)
        except AssertionError:
            assert not empty, "these show nothing"


def test_the_engines_own_span_is_below_the_workers(
    stack: RunningStack, stack_traces: Collector, client: openai.OpenAI
) -> None:
    trace = secrets.token_hex(16)
    content = user(image_part(), text_part("Hi"))
    parent = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    client.chat.completions.create(model=stack.model, messages=content, max_tokens=3, extra_headers=parent)

    def told() -> dict[str, Told]:
        return {span.name: span for span in stack_traces.of(trace)}

    eventually_sync(lambda: {"worker", "llm_request"} <= set(told()), "vLLM has told its span")
    worker, engine = told()["worker"], told()["llm_request"]
    assert engine.parent == worker.id
    assert engine.attributes["gen_ai.usage.completion_tokens"] == 3
    assert worker.start_ns <= engine.start_ns
