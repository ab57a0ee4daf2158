"""Every object is what Kubernetes, and the operators that read it, know: no other field, no other type."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.deploy import ray_schema
from tests.deploy.chart import EXAMPLES, TOOLS, VERSIONS, Object, example, render, values

# What operators add to a cluster; the route is a standard that no schema of ours knows.
CUSTOM = {"RayService", "ServiceMonitor", "PodMonitor", "ScrapeConfig", "PrometheusRule", "ScaledObject", "HTTPRoute"}
# What no example has.
FURTHER = {
    "hpa": values(gateway={"autoscaling": {"kind": "hpa"}}),
    "cache": values(workers={"cache": {"enabled": True, "storageClass": "fast"}}),
    "scaled workers": values(
        workers={"runtime": "deployment", "autoscaling": {"enabled": True, "prometheusUrl": "http://prometheus:9090"}}
    ),
    "files from secrets": values(
        gateway={"mediaHeadersSecret": "headers", "apiKeysSecret": "keys"}, test={"apiKeySecret": "key"}
    ),
    "password": {
        "models": {"one": {"engine": "simulated"}},
        "redis": {"bundled": {"enabled": True, "existingSecret": "password"}},
    },
    "workers alone": values(gateway={"enabled": False}),
    "gateways alone": {"redis": {"existingSecret": "redis"}},
    "open": values(networkPolicies={"enabled": False}),
}
CASES = {**{name: example(name) for name in EXAMPLES}, **FURTHER}


@pytest.fixture(autouse=True)
def read_schemas_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", _schema)


_schema = functools.cache(utils.schema_contents)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_knows_every_field(case: str, version: str):
    for found in render(CASES[case]):
        if found["kind"] not in CUSTOM:
            # It says which version's schema it took.
            assert kubernetes_validate.validate(found, version, strict=True) == version.rpartition(".")[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_that_there_is_not_is_found(version: str):
    (found,) = [o for o in render(values()) if o["kind"] == "Deployment"]
    found["spec"]["template"]["spec"]["terminationGracePeriod"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_every_field_of_a_ray_service_is_known(case: str):
    for found in render(CASES[case]):
        if found["kind"] == "RayService":
            ray_schema.validate(found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.rayClusterConfig.headGroup", {}),
        ("spec.upgradeStrategy.type", "Rolling"),
        ("spec.rayClusterConfig.workerGroupSpecs.0.maxReplicas", "4"),
        ("spec.rayClusterConfig.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterConfig.headGroupSpec.template.spec.container", []),
    ],
)
def test_what_is_wrong_with_a_ray_service_is_found(path: str, value: Any):
    (found,) = [o for o in render(values()) if o["kind"] == "RayService"]
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    functools.reduce(lambda inner, key: inner[key], parents, found)[last] = value
    with pytest.raises((ray_schema.Invalid, kubernetes_validate.ValidationError)):
        ray_schema.validate(found)


_NODE = """
import { readFileSync } from "node:fs";
const kinds = {
  ServiceMonitor: "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
  PodMonitor: "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor",
  ScrapeConfig: "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1alpha1/ScrapeConfig",
  PrometheusRule: "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule",
  ScaledObject: "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject",
};
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const model = (await import(kinds[object.kind]))[object.kind];
  let said = "";
  try { new model(object).validate(); } catch (error) { said = error.message; }
  console.log(JSON.stringify(said));
}
"""


def _what_operators_say(objects: list[Object], folder: Path) -> list[str]:
    assert TOOLS.is_dir(), f"there are no schemas in {TOOLS}: run `make tools`"
    (folder / "node_modules").symlink_to(TOOLS)
    script = folder / "check.mjs"
    script.write_text(_NODE)
    argv = ["node", "--no-warnings", str(script)]
    told = subprocess.run(argv, input=json.dumps(objects), capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in told.stdout.splitlines()]


def test_the_operators_of_prometheus_and_keda_know_every_field(tmp_path: Path):
    operated = CUSTOM - {"RayService", "HTTPRoute"}
    objects = [o for case in CASES.values() for o in render(case) if o["kind"] in operated]
    assert {o["kind"] for o in objects} == operated
    assert _what_operators_say(objects, tmp_path) == [""] * len(objects)


def test_what_is_wrong_with_a_monitor_or_a_scaled_object_is_found(tmp_path: Path):
    objects = render(example("two-models"))
    (monitor,) = [o for o in objects if o["kind"] == "ServiceMonitor"]
    (scaled,) = [o for o in objects if o["kind"] == "ScaledObject"]
    (scrape,) = [o for o in objects if o["kind"] == "ScrapeConfig"]
    monitor["spec"]["endpoints"][0]["interval"] = 15
    scaled["spec"]["maxReplicaCount"] = "many"
    scrape["spec"]["httpSDConfigs"][0]["url"] = 9
    told = _what_operators_say([monitor, scaled, scrape], tmp_path)
    assert all("must be" in said for said in told), told
