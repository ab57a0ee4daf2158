"""Every graph shows metrics that there are, and under load, in a real Prometheus, something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import yaml

from deploy.grafana.dashboards import files
from deploy.grafana.graphs import DASHBOARDS, graphs
from tessera.local.stack import free_port
from tessera.settings import Prices, Settings
from tests.deploy.chart import example, find, render
from tests.deploy.exported import exported_metrics, used_metrics
from tests.deploy.prometheus_process import exemplars, in_prometheus, prometheus, those_with_data
from tests.deploy.test_alerts import promtool
from tests.e2e.media import audio_part
from tests.gateway.gateway_process import GatewayProcess, gateway_process
from tests.media import pictures
from tests.polling import eventually
from tests.worker.simulated.worker_process import worker_process

EXPRESSIONS = sorted({expression for _, graph in graphs() for expression in graph[2].values()})


def test_what_is_generated_is_up_to_date():
    for file, content in files().items():
        assert file.read_text() == content, f"{file.name}: run `make dashboards`"


def test_every_metric_in_a_graph_is_exported():
    for expression in EXPRESSIONS:
        assert used_metrics(expression) <= exported_metrics(), expression


def test_prometheus_understands_every_expression(tmp_path: Path):
    rules = [{"record": f"r:{i}", "expr": in_prometheus(e)} for i, e in enumerate(EXPRESSIONS)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "graphs", "rules": rules}]}))
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_gets_a_dashboard_that_can_be_told_apart(name: str):
    config = find(render(example("two-models")), "ConfigMap", f"tessera-{name}")
    told = json.loads(config["data"][f"{name}.json"])
    assert (told["uid"], told["title"]) == (f"tessera-{name}", DASHBOARDS[name][0])
    panels = [p for p in told["panels"] if p["type"] == "timeseries"]
    assert panels
    assert len({p["id"] for p in told["panels"]}) == len(told["panels"])
    for panel in panels:
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for target in panel["targets"]:
            # Those of gateways; an engine's name no traces.
            assert target["exemplar"] == ("histogram_quantile" in target["expr"] and "vllm:" not in target["expr"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


@asynccontextmanager
async def a_site(content: bytes) -> AsyncIterator[str]:
    """Somewhere to fetch an image from."""

    async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(body=content, content_type="image/png")

    app = aiohttp.web.Application()
    app.router.add_get("/{name}", answer)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def load(gateway: GatewayProcess, site: str, turn: int) -> None:
    """A request of each kind that a graph shows something of."""

    def asked(*parts: dict[str, Any], **more: Any) -> asyncio.Task[bytes]:
        text = {"type": "text", "text": f"Hello {turn}"}
        return gateway.ask({"model": "simulated", "messages": [{"role": "user", "content": [text, *parts]}], **more})

    image = {"type": "image_url", "image_url": {"url": f"{site}/{turn % 2}.png"}}
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    await asyncio.gather(asked(stream=True), asked(image), asked(audio_part()), asked(broken))


@pytest.mark.e2e
@pytest.mark.timeout(600)
async def test_every_graph_shows_something_under_load(settings: Settings, tmp_path: Path):
    own = Settings(
        **settings.model_dump(exclude_unset=True),
        media_allow_private_networks=True,
        simulated_answer_tokens=8,
        simulated_decode_step_ms=5,
        worker_metrics_port=free_port(),
        prices={"*": Prices(text=0.2)},
        otlp_endpoint=f"http://127.0.0.1:{free_port()}",  # where nobody is
    )
    site_of = a_site(pictures.png(pictures.scene()))
    # What engines tell of themselves: of real ones, by tests/e2e/test_operation.py.
    shown = [expression for expression in EXPRESSIONS if "vllm:" not in expression]
    with worker_process(own, tmp_path / "worker.log"):
        async with gateway_process(own) as gateway, site_of as site:
            with prometheus(gateway.url, tmp_path) as address:
                empty, turn = set(shown), 0

                async def all_shown() -> bool:
                    nonlocal turn
                    turn += 1
                    await load(gateway, site, turn)
                    empty.difference_update(await asyncio.to_thread(those_with_data, address, empty))
                    return not empty

                try:
                    await eventually(all_shown, "every graph shows something", within_s=120)
                except AssertionError:
                    assert not empty, "these show nothing"
                traces = await asyncio.to_thread(exemplars, address, "tessera_time_to_first_token_seconds_bucket")
                assert traces, "Prometheus reads which traces they are of"
