"""What runs have counted, kept in a file of the repository."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psutil

from loadtests.chaos.run import Plan
from loadtests.chaos.tally import Tally
from tessera import __version__

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.json"

Record = dict[str, Any]


def record_of(plan: Plan, tally: Tally, seconds: float) -> Record:
    """A run as it is kept.

    Args:
        seconds: that the faults took.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "version": f"{__version__} ({_commit()})",
        "cores": psutil.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
        "seconds": round(seconds),
        "streams": plan.streams,
        **asdict(plan.size),
        **tally.to_json(),
    }


def read(path: Path = RESULTS) -> list[Record]:
    """All runs, the oldest first."""
    records: list[Record] = orjson.loads(path.read_bytes()) if path.exists() else []
    return records


def append(record: Record, path: Path = RESULTS) -> None:
    """Keep a run."""
    path.write_bytes(orjson.dumps([*read(path), record], option=orjson.OPT_INDENT_2) + b"\n")


def _commit() -> str:
    argv = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
