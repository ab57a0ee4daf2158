"""Both Helms render every example, and render the same."""

from __future__ import annotations

from pathlib import Path

import helm_python
import pytest
import yaml

from tessera import __version__
from tests.deploy.chart import CHART, EXAMPLES, VERSIONS, example, helm_3, render, render_3

NAMES = ["laptop", "multi-node", "one-gpu", "restricted", "two-models"]


def test_there_are_these_examples():
    assert EXAMPLES == NAMES


@pytest.mark.parametrize("name", EXAMPLES)
def test_helm_3_and_4_agree(name: str, tmp_path: Path):
    rendered = render(example(name))
    assert rendered
    for version in VERSIONS:
        assert render_3(example(name), tmp_path, kube=version) == rendered


@pytest.mark.parametrize("name", EXAMPLES)
def test_lint_finds_nothing(name: str, tmp_path: Path):
    for version in VERSIONS:
        report = helm_python.lint(CHART, example(name), strict=True, kube_version=f"v{version}")
        assert report["errors"] == []
        # The chart has no icon.
        assert [m for m in report["messages"] if "icon is recommended" not in m["error"]] == []
    linted = helm_3("lint", CHART, "--strict", given=example(name), folder=tmp_path)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_an_older_cluster_is_refused(tmp_path: Path):
    ran = helm_3("template", "t", CHART, "--kube-version", "1.26.0", given=example("laptop"), folder=tmp_path)
    assert "incompatible with Kubernetes v1.26.0" in ran.stderr


def test_the_chart_is_of_the_same_version_as_what_it_deploys():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_two_releases_share_no_name(name: str):
    def named(release: str) -> set[tuple[str, str]]:
        return {(o["kind"], o["metadata"]["name"]) for o in render(example(name), release=release)}

    assert not named("first") & named("second")
