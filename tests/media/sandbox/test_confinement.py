from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ALLOWED = {"a thread", "some memory"}


def results(*arguments):
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'server'}{os.pathsep}{ROOT}"}
    argv = [sys.executable, "-m", "tests.media.sandbox.escapes", *arguments]
    return json.loads(subprocess.run(argv, env=env, stdout=subprocess.PIPE, timeout=60, check=True).stdout)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempts are written for x86-64")
@pytest.mark.parametrize("arguments", [(), ("--without-landlock",)], ids=["with Landlock", "without"])
def test_a_confined_process_can_use_memory_and_threads_and_nothing_else(arguments):
    found = results(*arguments)
    missing = found.pop("missing")
    assert "seccomp" not in missing, "this kernel filters no system calls: nothing was shown"
    if not arguments and "landlock" in missing:
        print("This kernel has no Landlock: files were closed to it by the filter of system calls alone.")
    assert {name for name, outcome in found.items() if outcome == "done"} == ALLOWED
    assert found["more memory"] == "MemoryError"
