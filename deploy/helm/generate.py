"""Writes what follows from the chart's values.yaml and from the settings: its schema, and the table of its README.

``python -m deploy.helm.generate`` (`make chart`); a test compares what is there with what it would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tessera.settings import Settings

CHART = Path(__file__).parent / "tessera"

# Settings that have a value of their own in the chart, belong into secrets, or mean nothing in a pod.
RESERVED = {
    "host", "port", "log_format", "drain_timeout_s", "drain_notice_s", "media_headers_file",
    "redis_url", "media_redis_url", "media_proxy", "redis_username", "redis_password",
    "redis_sentinel_password", "redis_ca_file", "redis_cert_file", "redis_key_file",
    # Metrics are not reached from outside.
    "api_key", "api_keys_file", "admin_key", "metrics_auth",
    "model", "served_model_name", "engine", "engine_args", "ray_address", "replicas", "gpus_per_replica",
    "gpus_across_nodes", "engine_port", "worker_folder", "worker_metrics_address",
}  # fmt: skip

_TEXT = {"type": "string"}
_NAME = {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", "maxLength": 253}
_QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"}
_STORAGE = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)$"}
_REDIS_MEMORY = {"type": "string", "pattern": "^[0-9]+(kb|mb|gb)$"}
_PULL = {"enum": ["Always", "IfNotPresent", "Never"]}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_PATHS = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^/"}}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_CIDRS = {"type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"}}
_PEERS = {"type": "array", "items": {"type": "object", "minProperties": 1}}
_COUNT = {"type": "integer", "minimum": 1}


def _strict(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_RESOURCES = _strict({kind: {"type": "object", "additionalProperties": _QUANTITY} for kind in ("requests", "limits")})
_TOLERATIONS = {
    "type": "array",
    "items": _strict(
        {
            "key": _TEXT,
            "operator": {"enum": ["Exists", "Equal"]},
            "value": _TEXT,
            "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
            "tolerationSeconds": {"type": "integer"},
        }
    ),
}
# What a value's default does not say about it, by the end of its path.
_KINDS: dict[str, dict[str, Any]] = {
    "imagePullSecrets": {"type": "array", "items": _strict({"name": _NAME}) | {"required": ["name"]}},
    "pullPolicy": _PULL,
    "resources": _RESOURCES,
    "headResources": _RESOURCES,
    "autoscalerResources": _RESOURCES,
    "queueResources": _RESOURCES,
    "mediaResources": _RESOURCES,
    "tolerations": _TOLERATIONS,
    "affinity": {"type": "object"},
    "nodeSelector": _TEXTS,
    "headNodeSelector": _TEXTS,
    "annotations": _TEXTS,
    "commonLabels": _TEXTS,
    "labels": _TEXTS,
    "dashboardLabels": _TEXTS,
    "monitoringNamespaceLabels": _TEXTS | {"minProperties": 1},
    "topologySpread": {
        "type": "object", "additionalProperties": {"enum": ["ScheduleAnyway", "DoNotSchedule"]},
    },
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "port": _PORT,
    "hosts": {"type": "array", "items": _TEXT},
    "hostnames": {"type": "array", "items": _TEXT},
    "paths": _PATHS,
    "parentRefs": {
        "type": "array",
        "items": _strict(dict.fromkeys(("name", "namespace", "sectionName", "group", "kind"), _TEXT) | {"port": _PORT})
        | {"required": ["name"]},
    },
    "httpRoute.timeout": {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
    "autoscaling.kind": {"enum": ["none", "hpa", "keda"]},
    "prometheusUrl": {"type": "string", "pattern": "^(https?://.+)?$"},
    "targetCPUPercent": {"type": "integer", "minimum": 1, "maximum": 100},
    "ingressFrom": _PEERS,
    "egressTo": _PEERS,
    "mediaCidrs": _CIDRS,
    "mediaExcept": _CIDRS,
    "mediaPorts": {"type": "array", "items": _PORT},
    "networkPolicy.ports": {"type": "array", "items": _PORT, "minItems": 1},
    "runtime": {"enum": ["rayservice", "deployment"]},
    "engine": {"enum": ["vllm", "simulated"]},
    "engineArgs": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "accessModes": {
        "type": "array",
        "minItems": 1,
        "items": {"enum": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"]},
    },
    "upgrade": {"enum": ["NewCluster", "None"]},
    "cache.size": _STORAGE,
    "bundled.size": _STORAGE,
    "scratch": _STORAGE,
    "sharedMemory": _STORAGE,
    "queueMaxMemory": _REDIS_MEMORY,
    "mediaMaxMemory": _REDIS_MEMORY,
    "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "existingSecret": _NAME,
    "tokenSecret": _NAME,
    "caSecret": _NAME,
    "certificateSecret": _NAME,
    "tlsSecret": _NAME,
    "mediaHeadersSecret": _NAME,
    "apiKeysSecret": _NAME,
    "apiKeySecret": _NAME,
    "adminKeySecret": _NAME,
    "existingClaim": _NAME,
    "replicas": {"type": "integer", "minimum": 0},
    "hostsPerReplica": _COUNT,
    "tensorParallel": _COUNT,
    "pipelineParallel": _COUNT,
    "minReplicas": _COUNT,
    "maxReplicas": _COUNT,
    "targetJobs": _COUNT,
    "targetOpenRequests": _COUNT,
    "maxUnavailable": _COUNT,
    "drainTimeoutSeconds": _COUNT,
    "startTimeoutSeconds": {"type": "integer", "minimum": 5},
    "fullnameOverride": _NAME,
}  # fmt: skip
_PLAIN = {bool: {"type": "boolean"}, str: _TEXT, int: {"type": "integer", "minimum": 0}}


def settings_schema() -> dict[str, Any]:
    """What a map of settings may have: every setting that is not reserved, within its bounds."""
    properties, settings = {}, Settings.model_json_schema()
    for name, told in settings["properties"].items():
        if name not in RESERVED:
            whole = _resolved(told, settings.get("$defs", {}))
            properties[name] = {key: value for key, value in whole.items() if key not in ("title", "default")}
    return _strict(properties)


def _resolved(schema: Any, kinds: Mapping[str, Any]) -> Any:
    """A schema with those that it refers to in their places: it is used at several, and none of them is the root."""
    if isinstance(schema, dict):
        if (named := schema.get("$ref")) is not None:
            return _resolved(kinds[named.removeprefix("#/$defs/")], kinds)
        return {key: _resolved(value, kinds) for key, value in schema.items()}
    return [_resolved(each, kinds) for each in schema] if isinstance(schema, list) else schema


def schema() -> dict[str, Any]:
    """values.schema.json: other names, other types and what is out of bounds is refused."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    root = _described(values, "")
    model = root["properties"]["workers"]
    root["properties"]["models"] = {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"^[a-z]([-a-z0-9]*[a-z0-9])?$": model},
    }
    root["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart tessera", **root}


def _described(value: Any, path: str) -> dict[str, Any]:
    parts = path.split(".")
    for length in (2, 1):
        if known := _KINDS.get(".".join(parts[-length:])):
            return known
    if parts[-1] == "settings":
        return settings_schema()
    if isinstance(value, dict):
        return _strict({key: _described(inner, f"{path}.{key}".lstrip(".")) for key, inner in value.items()})
    return _PLAIN[type(value)]


_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w.]*):")


def documented() -> list[tuple[str, str]]:
    """Every value with a description, in the order of values.yaml: its path, and what it is for."""
    found, path, told = [], [""] * 10, ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("# --"):
            told = text.removeprefix("# --").strip()
        elif text.startswith("#") and told:
            told += " " + text.removeprefix("#").strip()
        elif match := _LINE.match(line):
            depth = len(match["indent"]) // 2
            path[depth] = match["key"]
            if told:
                found.append((".".join(path[: depth + 1]), told))
            told = ""
    return found


def readme() -> str:
    """The README: what README.in says, and the table of values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = []
    for path, told in documented():
        value: Any = values
        for part in path.split("."):
            value = value[part]
        default = json.dumps(value, ensure_ascii=False)
        if len(default) > 60:
            default = "see values.yaml"
        rows.append(f"| `{path}` | `{default}` | {told} |".replace("| `see values.yaml` |", "| see values.yaml |"))
    head = (CHART.parent / "README.in").read_text()
    return head + "\n| value | default | what it is |\n| - | - | - |\n" + "\n".join(rows) + "\n"


def files() -> dict[Path, str]:
    """What there is to write."""
    return {
        CHART / "values.schema.json": json.dumps(schema(), indent=1, ensure_ascii=False) + "\n",
        CHART / "README.md": readme(),
    }


if __name__ == "__main__":
    for file, content in files().items():
        file.write_text(content)
