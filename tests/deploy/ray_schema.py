"""What a RayService (KubeRay 1.7) may have, as far as the chart uses it; the pods in it are Kubernetes' own.

Where KubeRay's definitions are at hand, ``TESSERA_KUBERAY_CRDS`` names their folder, and all of them are used as well.
"""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.deploy.chart import VERSIONS, Object

Invalid = jsonschema.ValidationError


def _strict(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "additionalProperties": False, "properties": properties, "required": required.split(),
    }  # fmt: skip


_TEXT, _COUNT, _TRUTH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_OBJECT = {"type": "object"}
_GROUP = {"rayStartParams": _TEXTS, "template": _OBJECT}
_CLUSTER = _strict(
    "headGroupSpec",
    rayVersion=_TEXT,
    authOptions=_strict("mode", mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=_TRUTH,
    autoscalerOptions=_strict(
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=_COUNT,
        imagePullPolicy=_TEXT,
        resources=_OBJECT,
        securityContext=_OBJECT,
    ),
    headGroupSpec=_strict("template", **_GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": _strict(
            "groupName minReplicas maxReplicas template",
            groupName=_TEXT,
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            numOfHosts=_COUNT,
            **_GROUP,
        ),
    },
)
_SERVICE = _strict(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata=_OBJECT,
    spec=_strict(
        "rayClusterConfig",
        serveConfigV2=_TEXT,
        upgradeStrategy=_strict(type={"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]}),
        rayClusterDeletionDelaySeconds=_COUNT,
        excludeHeadPodFromServeSvc=_TRUTH,
        rayClusterConfig=_CLUSTER,
    ),
)


def validate(service: Object) -> None:
    """Raises Invalid, or Kubernetes' own error, where something in it is not known."""
    jsonschema.validate(service, _SERVICE)
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(group["template"])}
        pod["metadata"]["name"] = "pod"
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    if folder := os.environ.get("TESSERA_KUBERAY_CRDS"):
        _definition(folder).validate(service)


@functools.cache
def _definition(folder: str) -> jsonschema.Draft202012Validator:
    text = (Path(folder) / "ray.io_rayservices.yaml").read_text()
    versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1"]
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(_closed(schema))


def _closed(schema: Any) -> Any:
    """The same, where other fields than those that are listed are wrong."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if "x-kubernetes-int-or-string" in closed:
        closed.pop("anyOf", None)
        closed["type"] = ["integer", "string"]
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
