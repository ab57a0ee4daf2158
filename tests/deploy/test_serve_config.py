"""Ray Serve itself loads what the chart tells a RayService, handed over as by KubeRay; `helm test` gets its answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.local.stack import free_port
from tessera.settings import Settings
from tests.deploy.chart import CHART, environment, find, render
from tests.gateway.gateway_process import gateway_process
from tests.polling import eventually, eventually_sync

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TOKEN = "a" * 32
VALUES = {
    "settings": {"simulated_decode_step_ms": 1, "lease_s": 1},
    "workers": {"engine": "simulated", "gpuResource": ""},
    "models": {
        "small": {"servedName": "small"},
        # Over two pods: a placement group of Ray's.
        "wide": {"servedName": "wide", "gpuResource": "nvidia.com/gpu", "tensorParallel": 2, "hostsPerReplica": 2},
    },
    "redis": {"existingSecret": "redis"},
}


def config_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """What both RayServices serve; here on one cluster."""
    configs = [
        yaml.safe_load(find(objects, "RayService", f"tessera-{name}")["spec"]["serveConfigV2"])
        for name in VALUES["models"]
    ]
    return configs[0] | {"applications": [app for config in configs for app in config["applications"]]}


def told_by_the_chart(settings: Settings) -> dict[str, str]:
    """The environment of its pods."""
    service = find(render(VALUES), "RayService", "tessera-small")
    (container,) = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    told = {k: v for k, v in environment(container).items() if isinstance(v, str) and k.startswith(("RAY", "TESSERA"))}
    return told | {
        "TESSERA_REDIS_URL": settings.redis_url,
        "TESSERA_REDIS_PREFIX": settings.redis_prefix,
        # What KubeRay adds for `authOptions`.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }


@contextmanager
def head(settings: Settings) -> Iterator[str]:
    """Ray, started as KubeRay does, where there seem to be two GPUs. Yields what KubeRay talks to."""
    dashboard, agent = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="t-") as scratch:
        own = {"TESSERA_WORKER_FOLDER": f"{scratch}/workers"}
        argv = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--temp-dir={scratch}",
            f"--port={free_port()}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
            "--num-cpus=4", "--num-gpus=2", f"--ray-client-server-port={free_port()}",
        ]  # fmt: skip
        process = subprocess.Popen(
            argv, env={**os.environ, **told_by_the_chart(settings), **own}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for asked in (f"{dashboard}/api/gcs_healthz", f"{agent}/api/local_raylet_healthz"):
                eventually_sync(partial(_healthy, process, f"http://127.0.0.1:{asked}"), asked, within_s=90)
            yield f"http://127.0.0.1:{dashboard}/api/serve/applications/"
        finally:
            process.terminate()
            process.wait(60)


def _healthy(process: subprocess.Popen[bytes], probed: str) -> bool:
    assert process.poll() is None, "`ray start` has ended"
    return get(probed) == 200


def get(url: str) -> int:
    """The status of a page, without a token; 0: nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def call(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(url, data, headers, method="GET" if body is None else "PUT")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read() or b"null")


def metric_of(text: str, model: str) -> dict[str, float]:
    """Gauges of a model, in what a gateway tells."""
    found = re.findall(rf'^(\w+)\{{model="{model}"\}} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def states(serve: str) -> dict[str, str]:
    return {name: app["status"] for name, app in call(serve)["applications"].items()}


async def test_ray_serve_runs_what_the_chart_says(settings: Settings, tmp_path: Path):
    config = config_of(render(VALUES))
    with head(settings) as serve:
        assert get(serve) == 401, "strangers run nothing"
        call(serve, config)
        running = {"tessera-small": "RUNNING", "tessera-wide": "RUNNING"}
        eventually_sync(lambda: states(serve) == running, "both applications run", within_s=240)
        async with gateway_process(settings) as gateway:
            for model in ("small", "wide", ""):
                ran = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, str(CHART / "files" / "request.py"), gateway.url, model, "60"],
                    capture_output=True, text=True, timeout=90,
                )  # fmt: skip
                assert ran.returncode == 0, ran.stderr
                assert re.search(r"\(\d+ tokens\)", ran.stdout)
            # A change is rolled out by Serve, and a wrong one is refused with its reason.
            config["applications"][0]["args"] |= {"replicas": 2}
            call(serve, config)

            async def two() -> bool:
                async with gateway.http.get(f"{gateway.url}/metrics") as response:
                    return 'tessera_workers{model="small"} 2.0' in await response.text()

            await eventually(two, "there are two workers", within_s=60)
            # More than there is room for.
            config["applications"][0]["args"] |= {"replicas": 9}
            call(serve, config)

            async def more_wanted() -> bool:
                async with gateway.http.get(f"{gateway.url}/metrics") as response:
                    told = metric_of((await response.text()), "small")
                return told["tessera_workers_wanted"] == 9 > told["tessera_workers"] > 0

            await eventually(more_wanted, "nine are wanted, which there is no room for", within_s=90)
        config["applications"][0]["args"] |= {"lease": 5}
        call(serve, config)
        eventually_sync(lambda: "lease: Extra inputs" in json.dumps(call(serve)), "the reason is told", within_s=60)
