"""A real Prometheus that reads a gateway and, as the gateway tells it, workers."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        "--enable-feature=exemplar-storage",
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
        try:
            if _asked(address, "query", query=in_prometheus(expression))["result"]:
                found.add(expression)
        except urllib.error.URLError:
            break
    return found


def exemplars(address: str, metric: str) -> set[str]:
    """The traces of a metric's series."""
    now = time.time()
    told = _asked(address, "query_exemplars", query=metric, start=str(now - 3600), end=str(now))
    return {exemplar["labels"]["trace_id"] for series in told for exemplar in series["exemplars"]}


def _asked(address: str, what: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/v1/{what}?{urllib.parse.urlencode(query)}", timeout=30) as response:
        return json.load(response)["data"]
