from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.nano import canvas, requirements
from models.nano.requirements import Missing, check

ROOT = Path(__file__).parents[3]


def test_nothing_is_missing_here(tmp_path):
    check(tmp_path / "not" / "yet" / "there")


def test_without_espeak(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match=r"espeak-ng.*apt-get install"):
        check(tmp_path)


def test_without_a_font(tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "HELD_OUT_FONTS", ("NoSuchFont",))
    with pytest.raises(Missing, match=r"NoSuchFont.*apt-get install"):
        check(tmp_path)


def test_a_full_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(requirements.shutil, "disk_usage", lambda path: usage._replace(free=5 << 20))
    with pytest.raises(Missing, match=r"5 MiB.*--work"):
        check(tmp_path)


def test_the_command_says_it_in_one_line(tmp_path):
    argv = [sys.executable, "-m", "models.nano", "train", "--work", str(tmp_path / "work")]
    told = subprocess.run(argv, cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True)
    assert told.returncode == 1
    assert len(told.stderr.strip().splitlines()) == 1
    assert "espeak-ng" in told.stderr
