"""A real Prometheus that reads a gateway and, as the gateway tells it, workers."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tessera.local.stack import free_port


@contextmanager
def prometheus(gateway: str, folder: Path) -> Iterator[str]:
    """One that reads each second. Yields its address."""
    binary = shutil.which("prometheus")
    assert binary, "there is no prometheus: run `make tools`"
    target = gateway.removeprefix("http://")
    scrapes = [
        {"job_name": "gateway", "static_configs": [{"targets": [target]}]},
        {"job_name": "workers", "http_sd_configs": [{"url": f"{gateway}/sd/workers", "refresh_interval": "1s"}]},
    ]
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": scrapes}))
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


def in_prometheus(expression: str) -> str:
    """The same without Grafana's variables."""
    return expression.replace("$__rate_interval", "1m").replace("$model", ".*")


def those_with_data(address: str, expressions: Iterable[str]) -> set[str]:
    """Those of Grafana's expressions that a Prometheus has something for; none while it does not answer."""
    found = set()
    for expression in expressions:
        query = urllib.parse.urlencode({"query": in_prometheus(expression)})
        try:
            with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=30) as response:
                if json.load(response)["data"]["result"]:
                    found.add(expression)
        except urllib.error.URLError:
            break
    return found
