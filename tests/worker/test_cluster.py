"""What stops a worker before its replicas start is one message."""

from __future__ import annotations

import os
import subprocess
import sys


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
