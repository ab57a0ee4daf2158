"""What every pod of the chart is: confined, without secrets in the open, ended in time, and with true settings."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

import pytest

from tessera.settings import Settings
from tessera.worker.cluster import RAY_ENVIRONMENT
from tests.deploy.chart import EXAMPLES, Object, environment, example, find, pod_templates, render, values
from tests.deploy.test_manifests import CASES

# They belong to others than Tessera's own code.
OTHERS = {
    "API_KEY",
    "HOME",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "REDIS_PASSWORD",
    "REDISCLI_AUTH",
    *RAY_ENVIRONMENT,
}


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted(case: str):
    """Kubernetes' pod security standard of that name, and a root filesystem that nobody can write to."""
    for name, pod in pod_templates(render(CASES[case])):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all(not {"hostPath"} & set(volume) for volume in spec.get("volumes", [])), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 10_000, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"requests", "limits"} <= set(container["resources"]), name


@pytest.mark.parametrize("case", CASES)
def test_only_rays_head_may_talk_to_the_cluster(case: str):
    for name, pod in pod_templates(render(CASES[case])):
        assert name.endswith("/head") or pod["spec"]["automountServiceAccountToken"] is False, name


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_a_setting_and_no_secret_is_in_the_open(case: str):
    known = {f"TESSERA_{name.upper()}" for name in Settings.model_fields}
    objects = render(CASES[case])
    assert not [o for o in objects if o["kind"] == "Secret"]
    for name, pod in pod_templates(objects):
        for container in containers(pod["spec"]):
            told = environment(container)
            assert set(told) <= known | OTHERS, name
            for variable, value in told.items():
                if variable in ("HF_TOKEN", "REDIS_PASSWORD", "REDISCLI_AUTH", "API_KEY"):
                    assert "secretKeyRef" in value, name
                elif variable.endswith("REDIS_URL") and isinstance(value, str):
                    assert re.fullmatch(r"redis://(:\$\(REDIS_PASSWORD\)@)?[a-z-]+:6379", value), name


@pytest.mark.parametrize("name", EXAMPLES)
def test_settings_of_the_examples_are_valid(name: str):
    for where, pod in pod_templates(render(example(name))):
        for container in containers(pod["spec"]):
            told = environment(container)
            given = {k.removeprefix("TESSERA_").lower(): v for k, v in told.items() if k.startswith("TESSERA_")}
            assert Settings(**{k: v for k, v in given.items() if isinstance(v, str)}), where


def test_settings_that_are_objects_are_told_as_json():
    usual = {"*": {"detail": "low", "visual_token_budget": 4000}}
    prices = {"small": {"text": 0.2, "image": 0.5}}
    changes = {"settings": {"visual_defaults": usual, "prices": prices}}
    pods = [containers(pod["spec"])[0] for name, pod in pod_templates(render(values(**changes))) if "gateway" in name]
    told = environment(pods[0])
    assert json.loads(told["TESSERA_VISUAL_DEFAULTS"]) == usual
    assert json.loads(told["TESSERA_PRICES"]) == prices


@pytest.mark.parametrize("case", CASES)
def test_a_pod_lives_longer_than_its_drain(case: str):
    for name, pod in pod_templates(render(CASES[case])):
        spec = pod["spec"]
        for container in spec["containers"]:
            told = environment(container)
            if "TESSERA_DRAIN_TIMEOUT_S" in told:
                assert spec["terminationGracePeriodSeconds"] >= float(told["TESSERA_DRAIN_TIMEOUT_S"]) + 15, name
            hook = json.dumps(container.get("lifecycle", {}))
            for seconds in re.findall(r"(?:sleep |TIMEOUT_S=)(\d+)", hook):
                assert spec["terminationGracePeriodSeconds"] > int(seconds) + 10, name


def test_rays_processes_are_set_up_as_by_the_command():
    for name, pod in pod_templates(render(values())):
        if name.startswith("RayService"):
            told = environment(pod["spec"]["containers"][0])
            assert {k: told[k] for k in RAY_ENVIRONMENT} == RAY_ENVIRONMENT


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_their_own_pods_and_no_others(case: str):
    objects = render(CASES[case])
    pods = dict(pod_templates(objects))
    for found in objects:
        selector = found.get("spec", {}).get("selector") if found["kind"] == "Service" else None
        if found["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            spec = found["spec"]
            selector = (spec.get("podSelector") or spec["selector"])["matchLabels"]
        if selector is None:
            continue
        matched = {name for name, pod in pods.items() if selector.items() <= pod["metadata"]["labels"].items()}
        assert matched, found["metadata"]["name"]
        # Of one component, and where that is workers, of one model.
        assert len({pods[name]["metadata"]["labels"]["app.kubernetes.io/component"] for name in matched}) == 1
        assert len({pods[name]["metadata"]["labels"].get("tessera.dev/model") for name in matched}) == 1


def reachable(policy: Object, address: str, port: int) -> bool:
    """Whether a policy lets pods reach an address outside of the cluster's pods."""
    ip = ipaddress.ip_address(address)
    for rule in policy["spec"]["egress"]:
        if rule.get("ports") and port not in [p["port"] for p in rule["ports"]]:
            continue
        if "to" not in rule:
            return True
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block and _in(ip, block["cidr"]) and not any(_in(ip, cidr) for cidr in block.get("except", [])):
                return True
    return False


def _in(ip: Any, cidr: str) -> bool:
    network = ipaddress.ip_network(cidr)
    return ip.version == network.version and ip in network


INTERNAL = ["169.254.169.254", "10.96.0.1", "172.20.0.10", "192.168.1.1", "127.0.0.1", "100.64.0.1", "fd00:ec2::254"]


@pytest.mark.parametrize("address", INTERNAL)
@pytest.mark.parametrize("name", ["tessera-gateway", "tessera-one"])
def test_nothing_internal_is_reached(name: str, address: str):
    policy = find(render(values()), "NetworkPolicy", name)
    assert not reachable(policy, address, 80)
    assert not reachable(policy, address, 443)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_media_and_the_hub_are_reached(address: str):
    objects = render(values())
    gateway, worker = (find(objects, "NetworkPolicy", name) for name in ("tessera-gateway", "tessera-one"))
    assert reachable(gateway, address, 80)
    assert reachable(gateway, address, 443)
    assert not reachable(gateway, address, 22)
    assert reachable(worker, address, 443)
    assert not reachable(worker, address, 80)


def test_a_closed_cluster_has_no_way_out():
    objects = render(example("restricted"))
    for name in ("tessera-gateway", "tessera-vision"):
        policy = find(objects, "NetworkPolicy", name)
        assert not reachable(policy, "93.184.216.34", 443)
        assert reachable(policy, "10.30.0.5", 6380), "Redis"
    assert reachable(find(objects, "NetworkPolicy", "tessera-gateway"), "10.20.0.5", 443), "the store of media"


@pytest.mark.parametrize("runtime", ["deployment", "rayservice"])
@pytest.mark.parametrize("port", [None, 9100])
def test_prometheus_reaches_workers_metrics_where_they_have_a_port(runtime: str, port: int | None):
    settings = {} if port is None else {"worker_metrics_port": port}
    objects = render(values(settings=settings, models={"one": {"model": "m", "runtime": runtime}}))
    rules = find(objects, "NetworkPolicy", "tessera-one")["spec"]["ingress"]
    assert all(rule["from"] for rule in rules), "none is for everybody"
    usual = {8265, 52365, 8000, 8080} if runtime == "rayservice" else set()
    assert {p["port"] for rule in rules for p in rule.get("ports", [])} == usual | ({port} if port else set())


@pytest.mark.parametrize("case", CASES)
def test_exceptions_lie_within_their_blocks(case: str):
    """Otherwise Kubernetes refuses the policy."""
    for found in render(CASES[case]):
        for rule in found["spec"].get("egress", []) if found["kind"] == "NetworkPolicy" else []:
            for peer in rule.get("to", []):
                block = peer.get("ipBlock", {"cidr": "0.0.0.0/0"})
                for cidr in block.get("except", []):
                    inner, outer = ipaddress.ip_network(cidr), ipaddress.ip_network(block["cidr"])
                    assert inner.version == outer.version
                    assert inner.subnet_of(outer)  # type: ignore[arg-type]
