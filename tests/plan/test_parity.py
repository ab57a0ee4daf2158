"""Every family counts as the real processor in vLLM does: 500 items of each kind, exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tessera.plan import Configuration, Family, Plan, Unplannable, read_family
from tests.plan.models import ITEMS, MODELS, calls


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[int | None]]]:
    """What the processors count; None: they refuse the item."""
    folder = tmp_path_factory.mktemp("reference")
    given = {name: {"files": files, "calls": calls(name)} for name, files in MODELS.items()}
    (folder / "calls.json").write_text(json.dumps(given))
    # Nothing may be asked of a hub; and threads of a library that computes nothing only get into each other's way.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.plan.reference", str(folder)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads((folder / "counts.json").read_text())


def family_of(name: str) -> Family:
    return read_family(Configuration.of(**MODELS[name]))


def plan(family: Family, kind: str, call: list[Any]) -> Plan:
    match kind:
        case "image":
            return family.image(*call)
        case "audio":
            return family.audio(*call)
        case "sound":
            frames, width, height, samples = call
            return family.video(times(frames), width, height, samples=samples)
        case _:
            first, *size = call
            if isinstance(first, int):
                return family.video(times(first), *size)
            fps, *size = size
            return family.video([index / fps for index in first], *size)


def times(frames: int) -> list[float]:
    return [i / 2 for i in range(frames)]


def total(family: Family, kind: str, call: list[Any]) -> int | None:
    """Tokens, each letter that is written as one (as the reference counts them); None: refused."""
    try:
        made = plan(family, kind, call)
    except Unplannable:
        return None
    return made.tokens + sum(len(text) for text in made.texts)


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_the_processor(name: str, counts: dict[str, dict[str, list[int | None]]]) -> None:
    family = family_of(name)
    assert family.name == name.partition(":")[0]
    for kind, items in calls(name).items():
        assert len(items) == ITEMS
        wrong = [
            (item, ours, theirs)
            for item, theirs in zip(items, counts[name][kind], strict=True)
            if (ours := total(family, kind, item)) != theirs
        ]
        assert not wrong, f"{kind}: {len(wrong)} of {len(items)}, first {wrong[:3]}"
        counted = [theirs for theirs in counts[name][kind] if theirs]
        assert len(counted) > ITEMS // 2, "most items must be countable, or nothing is compared"
