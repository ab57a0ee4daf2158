"""What stops a worker before its replicas start is one message."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tessera.settings import Settings
from tessera.worker.cluster import missing_gpus


def test_a_temporary_folder_too_deep_for_sockets(tmp_path):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    environment = {**os.environ, "TMPDIR": str(deep), "TESSERA_REDIS_URL": "redis://127.0.0.1:1"}
    environment.pop("RAY_TMPDIR", None)
    ran = subprocess.run(
        [sys.executable, "-m", "tessera", "worker"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    assert "set RAY_TMPDIR to a shorter one" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("gpus", "replicas", "there", "said"),
    [
        (0, 4, 0, ""),
        (1, 1, 1, ""),
        (0.5, 2, 1, ""),
        (4, 2, 8, ""),
        (1, 1, 0, "need a GPU, and Ray finds none here"),
        (4, 2, 4, "TESSERA_GPUS_PER_REPLICA=4 and TESSERA_REPLICAS=2 need 8 GPUs, and there are 4 here."),
    ],
)
def test_a_machine_without_enough_gpus(gpus, replicas, there, said):
    told = missing_gpus(Settings(gpus_per_replica=gpus, replicas=replicas), there)
    assert said in told
    assert bool(told) == bool(said)
