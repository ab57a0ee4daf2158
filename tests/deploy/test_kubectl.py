"""What Kubernetes' own client reads in the chart's text is what is in it, by the oldest version and the newest."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import CHART, VERSIONS, Object, helm_3
from tests.deploy.test_manifests import CASES

CLIENTS = {
    "1.27.0": Path(sys.prefix) / "kubectl-1.27" / "kubectl" / "kubectl",
    "1.37.0": Path(sys.prefix) / "bin" / "kubectl",
}


def kubectl(version: str, *arguments: str, given: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run it where there is no cluster and no configuration."""
    client = CLIENTS[version]
    assert client.exists(), f"there is no kubectl {version} in {sys.prefix}: run `make tools`"
    argv = [str(client), *arguments]
    return subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60, env={"HOME": str(home)})


def annotated(text: str, version: str, home: Path) -> list[Object]:
    ran = kubectl(version, "annotate", "--local", "-f", "-", "x=y", "-o", "yaml", given=text, home=home)
    assert ran.returncode == 0, ran.stderr
    return [o for o in yaml.load_all(ran.stdout, Loader=yaml.CSafeLoader) if o]


def with_annotation(found: Object) -> Object:
    changed = copy.deepcopy(found)
    metadata = changed["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), "x": "y"}
    return changed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_it_adds_an_annotation_and_changes_nothing_else(case: str, version: str, tmp_path: Path):
    rendered = helm_3("template", "t", CHART, "--kube-version", version, given=CASES[case], folder=tmp_path)
    objects = [o for o in yaml.load_all(rendered.stdout, Loader=yaml.CSafeLoader) if o]
    assert objects, rendered.stderr
    assert annotated(rendered.stdout, version, tmp_path) == [with_annotation(o) for o in objects]


@pytest.mark.parametrize("version", VERSIONS)
def test_these_are_the_versions(version: str, tmp_path: Path):
    ran = kubectl(version, "version", "--client", "-o", "yaml", given="", home=tmp_path)
    told = yaml.safe_load(ran.stdout)["clientVersion"]["gitVersion"]
    assert told.startswith(f"v{version.rpartition('.')[0]}.")


@pytest.mark.parametrize("version", VERSIONS)
def test_text_that_is_no_object_is_refused(version: str, tmp_path: Path):
    told = "apiVersion: v1\nkind: Service\nmetadata: [name]\n"
    assert kubectl(version, "annotate", "--local", "-f", "-", "x=y", given=told, home=tmp_path).returncode
