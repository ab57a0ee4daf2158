"""A state-space model is given as many requests as its engine has states for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tessera.worker.bridge import state_slots


def config(*, attention_free: bool = True, blocks: int | None = 12, mode: str = "none", engines: int = 1) -> Any:
    return SimpleNamespace(
        model_config=SimpleNamespace(is_attention_free=attention_free),
        cache_config=SimpleNamespace(num_gpu_blocks=blocks, mamba_cache_mode=mode),
        parallel_config=SimpleNamespace(data_parallel_size=engines),
        num_speculative_tokens=0,
    )


@pytest.mark.parametrize("blocks", [2, 40])
def test_mmmamba_is_given_requests_by_its_state_slots_and_not_by_their_length(blocks: int) -> None:
    """The cache manager of vLLM admits as many, whatever their length, and none of them grows."""
    argv = [sys.executable, "-m", "tests.worker.state_slots", str(blocks)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr[-4000:]
    admitted, said = json.loads(done.stdout.splitlines()[-1])
    assert admitted == said == blocks - 1 == state_slots(config(blocks=blocks))


def test_each_engine_keeps_a_block_to_itself() -> None:
    assert state_slots(config(blocks=24, engines=2)) == 22


@pytest.mark.parametrize("other", [{"attention_free": False}, {"mode": "align"}, {"blocks": None}])
def test_what_grows_has_no_slots(other: dict[str, Any]) -> None:
    assert state_slots(config(**other)) is None
