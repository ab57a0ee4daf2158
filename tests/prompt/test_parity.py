"""Prompts have as many tokens as vLLM's own have: conversations of all kinds, through templates of all kinds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tessera.prompt import PromptCounter, PromptFiles, Uncountable
from tests.prompt.conversations import PARTS, PLAIN, STRICT, conversation
from tests.prompt.reference import picture

CONVERSATIONS = 60
# The model's own; then others, by what vLLM makes of them, and with tools that a request chose not to use.
TEMPLATES: list[tuple[str | None, str, bool]] = [
    (None, "auto", False),
    (PLAIN, "auto", True),
    (PARTS, "auto", False),
    (STRICT, "auto", False),
    (STRICT, "string", False),
]


def bodies() -> list[dict[str, Any]]:
    chance = random.Random(32)
    medium = {"type": "image_url", "image_url": {"url": picture()}}
    return [conversation(chance, medium if number % 4 == 0 else None) for number in range(CONVERSATIONS)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """Where vLLM's counts are."""
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "bodies.json").write_text(json.dumps(bodies()))
    (folder / "templates.json").write_text(json.dumps(TEMPLATES))
    argv = [sys.executable, "-m", "tests.prompt.reference", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_tokens_are_vllm_s(reference: Path, number: int) -> None:
    packed = (reference / f"{number}.prompts").read_bytes()
    counter = PromptCounter(PromptFiles.decode(packed))
    agreed = refused = 0
    for body, wanted in zip(bodies(), json.loads((reference / "counts.json").read_text())[number], strict=True):
        media = {
            (i, j): "image"
            for i, message in enumerate(body["messages"])
            for j, part in enumerate(message["content"] or [])
            if isinstance(part, dict) and part["type"] == "image_url"
        }
        if wanted is None:
            with pytest.raises(Uncountable):
                counter.chat(body, media)
            refused += 1
        else:
            assert counter.chat(body, media).tokens == wanted, body
            agreed += 1
    assert agreed > CONVERSATIONS / 10
    assert (refused > 0) == (TEMPLATES[number][0] == STRICT)
