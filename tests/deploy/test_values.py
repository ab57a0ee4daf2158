"""Wrong values are refused with their path and what is allowed; what is generated is up to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.helm.generate import RESERVED, documented, files
from tessera.settings import Settings
from tests.deploy.chart import CHART, LEAST, Refused, environment, find, render, render_3, values


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gatewayy": {}}, "gatewayy"),
        ({"gateway": {"replicsa": 2}}, "replicsa"),
        ({"gateway": {"replicas": "two"}}, "replicas"),
        ({"gateway": {"replicas": -1}}, "replicas"),
        ({"gateway": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
        ({"gateway": {"service": {"port": 70000}}}, "port"),
        ({"gateway": {"resources": {"limits": {"memory": "4 gigs"}}}}, "memory"),
        ({"gateway": {"resources": {"requets": {}}}}, "requets"),
        ({"gateway": {"autoscaling": {"kind": "vpa"}}}, "kind"),
        ({"gateway": {"networkPolicy": {"mediaExcept": ["example.com"]}}}, "mediaExcept"),
        ({"gateway": {"topologySpread": {"kubernetes.io/hostname": "Maybe"}}}, "topologySpread"),
        ({"workers": {"runtime": "Deployment"}}, "runtime"),
        ({"workers": {"tensorParallel": 0}}, "tensorParallel"),
        ({"workers": {"cache": {"size": "100 GB"}}}, "size"),
        ({"models": {"one": {"modle": "x"}}}, "modle"),
        ({"models": {"One": {"model": "x"}}}, "One"),
        ({"models": {"one": {"engine": "vlm"}}}, "engine"),
        ({"models": {"one": {"engineArgs": "--max-model-len 4096"}}}, "engineArgs"),
        ({"models": {"one": {"settings": {"lease": 5}}}}, "lease"),
        ({"settings": {"max_queued_job": 5}}, "max_queued_job"),
        ({"settings": {"max_queued_jobs": "many"}}, "max_queued_jobs"),
        ({"settings": {"max_queued_jobs": 0}}, "max_queued_jobs"),
        ({"settings": {"log_level": "loud"}}, "log_level"),
        ({"settings": {"visual_defaults": {"one": {"detail": "medium"}}}}, "detail"),
        ({"settings": {"media_sandbox": "on"}}, "media_sandbox"),
        ({"settings": {"redis_url": "redis://:secret@redis"}}, "redis_url"),
        ({"redis": {"existingSecret": "Not a name"}}, "existingSecret"),
        ({"monitoring": {"interval": "15"}}, "interval"),
        ({"workers": {"ray": {"upgrade": "Rolling"}}}, "upgrade"),
    ],
)
def test_what_the_schema_refuses(changes: dict[str, Any], said: str, tmp_path: Path):
    for refuse in (lambda: render(values(**changes)), lambda: render_3(values(**changes), tmp_path)):
        with pytest.raises(Refused) as refused:
            refuse()
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"redis": {"existingSecret": ""}}, "redis.existingSecret: name the secret"),
        ({"redis": {"bundled": {"enabled": True}}}, "redis.existingSecret and redis.bundled.enabled"),
        ({"gateway": {"drainNoticeSeconds": 120}}, "gateway.drainNoticeSeconds: it is a part of"),
        ({"gateway": {"enabled": False}, "models": None}, "would deploy nothing"),
        ({"gateway": {"autoscaling": {"kind": "keda"}}}, "gateway.autoscaling.prometheusUrl"),
        ({"gateway": {"autoscaling": {"minReplicas": 20}}}, "gateway.autoscaling.minReplicas"),
        ({"gateway": {"httpRoute": {"enabled": True}}}, "gateway.httpRoute.parentRefs"),
        ({"monitoring": {"scrapeConfig": True}}, "monitoring.scrapeConfig: there is nothing to read"),
        ({"models": {"one": {"hostsPerReplica": 2}}}, "models.one.hostsPerReplica: 1 GPUs cannot be shared"),
        (
            {"models": {"one": {"hostsPerReplica": 2, "tensorParallel": 3}}},
            "models.one.hostsPerReplica: 3 GPUs cannot be shared evenly by 2 pods",
        ),
        (
            {"models": {"one": {"hostsPerReplica": 2, "tensorParallel": 2, "runtime": "deployment"}}},
            "models.one.hostsPerReplica: an engine on several machines needs runtime: rayservice",
        ),
        ({"models": {"one": {"gpuResource": "", "tensorParallel": 2}}}, "gpuResource is empty"),
        ({"models": {"one": {"autoscaling": {"enabled": True}}}}, "models.one.autoscaling: KEDA scales"),
        (
            {"models": {"one": {"runtime": "deployment", "autoscaling": {"enabled": True}}}},
            "models.one.autoscaling.prometheusUrl",
        ),
        ({"models": {"one": {"model": "", "cache": {"enabled": True}}}}, "models.one.model: name it"),
        ({"models": {"a" * 40: {}}}, "at most 41 characters"),
        ({"fullnameOverride": "x" * 31}, "fullnameOverride"),
        ({"test": {"model": "two"}}, "test.model: there is no models.two; there are one"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], said: str, tmp_path: Path):
    given = values(**changes)
    for refuse in (lambda: render(given), lambda: render_3(given, tmp_path)):
        with pytest.raises(Refused) as refused:
            refuse()
        assert said in str(refused.value)


def test_what_is_generated_is_up_to_date():
    for file, content in files().items():
        assert file.read_text() == content, f"{file.name}: run `make chart`"


def test_every_value_is_documented():
    described = {path for path, _ in documented()}

    def leaves(value: Any, path: str) -> list[str]:
        if path in described or not isinstance(value, dict) or not value:
            return [path]
        return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}".lstrip("."))]

    assert set(leaves(yaml.safe_load((CHART / "values.yaml").read_text()), "")) == described


def test_every_setting_can_be_set_somewhere():
    schema = json.loads((CHART / "values.schema.json").read_text())
    settable = set(schema["properties"]["settings"]["properties"])
    assert settable | RESERVED == set(Settings.model_fields)
    assert not settable & RESERVED


def test_large_numbers_and_truths_stay_what_they_are():
    settings = {
        "max_queued_bytes": 8_589_934_592,
        "max_idempotency_keys": 1_000_000,
        "lease_s": 7.5,
        "max_dead_jobs": 0,
        "visual_defaults": {"omni": {"detail": "low"}},
    }
    given = values(settings=settings, gateway={"settings": {"media_allow_private_networks": True, "lease_s": 8}})
    gateway = find(render(given), "Deployment", "tessera-gateway")
    told = environment(gateway["spec"]["template"]["spec"]["containers"][0])
    assert told["TESSERA_MAX_QUEUED_BYTES"] == "8589934592"
    assert told["TESSERA_MAX_IDEMPOTENCY_KEYS"] == "1000000"
    assert told["TESSERA_MEDIA_ALLOW_PRIVATE_NETWORKS"] == "true"
    assert told["TESSERA_MAX_DEAD_JOBS"] == "0"
    assert json.loads(told["TESSERA_VISUAL_DEFAULTS"]) == {"omni": {"detail": "low"}}
    assert told["TESSERA_LEASE_S"] == "8", "a part's own settings go before those of all"


def test_a_model_says_anew_also_what_is_nothing():
    base = {"resources": {"requests": {"cpu": "2"}}, "gpuResource": "amd.com/gpu", "replicas": 3}
    own = {"gpuResource": "", "replicas": 0, "tolerations": [], "nodeSelector": {"disk": "fast"}}
    given = values(workers={**base, "nodeSelector": {"gpu": "big"}}, models={"one": own, "two": {"model": "org/two"}})
    pods = {
        name: find(render(given), "RayService", f"tessera-{name}")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
        for name in ("one", "two")
    }
    one, two = (pods[name]["template"]["spec"] for name in ("one", "two"))
    assert (pods["one"]["replicas"], pods["two"]["replicas"]) == (0, 3)
    assert "amd.com/gpu" not in one["containers"][0]["resources"]["limits"]
    assert two["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "1"
    assert "tolerations" not in one
    assert (one["nodeSelector"], two["nodeSelector"]) == ({"disk": "fast"}, {"gpu": "big"})


def test_redis_as_operators_run_it():
    redis = {
        "usernameKey": "user", "passwordKey": "password", "sentinelPasswordKey": "other", "caSecret": "our-ca",
        "certificateSecret": "our-certificate",
    }  # fmt: skip
    for kind, name in (("Deployment", "tessera-gateway"), ("RayService", "tessera-one")):
        made = find(render(values(redis=redis)), kind, name)["spec"]
        if kind == "RayService":
            made = made["rayClusterConfig"]["workerGroupSpecs"][0]
        pod = made["template"]["spec"]
        told = environment(pod["containers"][0])
        keys = {
            env: told[f"TESSERA_REDIS_{env}"]["secretKeyRef"]["key"]
            for env in ("USERNAME", "PASSWORD", "SENTINEL_PASSWORD")
        }
        assert keys == {"USERNAME": "user", "PASSWORD": "password", "SENTINEL_PASSWORD": "other"}
        mounted = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        for setting, secret in (
            ("CA_FILE", "our-ca"),
            ("CERT_FILE", "our-certificate"),
            ("KEY_FILE", "our-certificate"),
        ):
            folder = str(Path(told[f"TESSERA_REDIS_{setting}"]).parent)
            assert secrets[mounted[folder]] == secret


def test_the_least_is_enough():
    assert render(LEAST)
