"""Every graph shows metrics that there are, and under load, in a real Prometheus, something."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.grafana.dashboards import DASHBOARDS, files, graphs
from tessera.gateway.app import create_app
from tessera.local.stack import free_port
from tessera.settings import Settings
from tests.deploy.chart import example, find, render
from tests.deploy.test_alerts import promtool
from tests.gateway.gateway_process import GatewayProcess, gateway_process
from tests.media import pictures
from tests.polling import eventually
from tests.worker.simulated.worker_process import worker_process

EXPRESSIONS = sorted({expression for _, graph in graphs() for expression in graph[2].values()})


def in_prometheus(expression: str) -> str:
    """The same without Grafana's variables."""
    return expression.replace("$__rate_interval", "1m").replace("$model", ".*")


def test_what_is_generated_is_up_to_date():
    for file, content in files().items():
        assert file.read_text() == content, f"{file.name}: run `make dashboards`"


def test_every_metric_in_a_graph_is_exported():
    assert create_app, "its import registers all metrics"
    exported = set()
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        exported |= {family.name + suffix for suffix in suffixes}
    for expression in EXPRESSIONS:
        assert set(re.findall(r"\b(?:tessera|process)_\w+", expression)) <= exported, expression


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
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """A Prometheus that reads a gateway each second. Yields its address."""
    binary = shutil.which("prometheus")
    assert binary, "there is no prometheus: run `make tools`"
    config = folder / "prometheus.yaml"
    scrape = {"job_name": "gateway", "static_configs": [{"targets": [target]}]}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    address = f"127.0.0.1:{free_port()}"
    argv = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


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
    await asyncio.gather(asked(stream=True), asked(image), asked(broken))


@pytest.mark.e2e
@pytest.mark.timeout(600)
async def test_every_graph_shows_something_under_load(settings: Settings, tmp_path: Path):
    own = Settings(
        **settings.model_dump(exclude_unset=True),
        media_allow_private_networks=True,
        simulated_answer_tokens=8,
        simulated_decode_step_ms=5,
    )
    site_of = a_site(pictures.png(pictures.scene()))
    with worker_process(own, tmp_path / "worker.log"):
        async with gateway_process(own) as gateway, site_of as site:
            with prometheus(gateway.url.removeprefix("http://"), tmp_path) as address:
                empty, turn = set(EXPRESSIONS), 0

                async def all_shown() -> bool:
                    nonlocal turn
                    turn += 1
                    await load(gateway, site, turn)
                    for expression in list(empty):
                        query = {"query": in_prometheus(expression)}
                        try:
                            async with gateway.http.get(f"{address}/api/v1/query", params=query) as response:
                                if (await response.json())["data"]["result"]:
                                    empty.discard(expression)
                        except aiohttp.ClientError:
                            return False
                    return not empty

                try:
                    await eventually(all_shown, "every graph shows something", within_s=120)
                except AssertionError:
                    assert not empty, "these show nothing"
