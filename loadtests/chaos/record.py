"""What runs have counted, kept in a file of the repository, and the page that is made of it."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
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
PAGE = FOLDER.parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: written by `make chaos-page` -->\n", "<!-- end of counts -->\n"

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


def page(text: str, records: Sequence[Record]) -> str:
    """The page with the counts of all runs. Raises ``ValueError`` where it has no place for them."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"{PAGE.name} has no line {(BEGIN if not begun else END).strip()}")
    return before + BEGIN + _counts(records) + END + after


def _counts(records: Sequence[Record]) -> str:
    if not records:
        return "\nNo run was kept yet.\n\n"
    last = records[-1]
    strikes, failed = (_total(records, name) for name in ("strikes", "failed"))
    summed = {
        "processes killed (`kill -9`)": _sum(records, "kills"),
        "faults of all kinds": strikes.total(),
        "requests sent": _sum(records, "sent"),
        "answered": _sum(records, "answered"),
        "ended with a clear error": failed.total(),
        "lost": _sum(records, "lost"),
        "tokens missing": _sum(records, "missing"),
        "tokens sent twice": _sum(records, "duplicated"),
        "answers that differ": _sum(records, "differing"),
        "streams picked up at another gateway": _sum(records, "picked_up"),
        "requests sent again, since their gateway had died": _sum(records, "asked_again"),
        "of these, joined by their key": _sum(records, "joined"),
    }
    return "\n".join(
        [
            "",
            f"Over {len(records)} runs:" if len(records) > 1 else "In one run:",
            "",
            *_table(["", "number"], [[name, f"{number:,}"] for name, number in summed.items()]),
            "",
            f"Errors: {_listed(failed)}. Faults: {_listed(strikes)}.",
            "",
            f"From a fault to the next token, in the last run ({_conditions(last)}):",
            "",
            *_table(
                ["fault", "streams that it concerned", "p50, s", "p99, s", "longest, s"],
                [
                    [kind, f"{gap['streams']:,}", f"{gap['p50']:.2f}", f"{gap['p99']:.2f}", f"{gap['most']:.2f}"]
                    for kind, gap in last["gaps_s"].items()
                ],
            ),
            "",
            "",
        ]
    )


def _conditions(record: Record) -> str:
    numbers = {
        "streams": "streams",
        "workers": "workers",
        "gateways": "gateways",
        "cores that all of them share": "cores",
    }
    sizes = ", ".join(f"{record[name]} {what}" for what, name in numbers.items())
    lease = f"leases of {record['lease_s']:g} s, `TESSERA_MAX_ATTEMPTS` {record['max_attempts']}"
    return f"{record['date']}, {record['version']}; {lease}, {sizes}, `appendfsync {record['fsync']}`"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(head), _row(["-"] * len(head)), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.most_common()) or "none"


def _sum(records: Sequence[Record], name: str) -> int:
    return sum(record[name] for record in records)


def _total(records: Sequence[Record], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for record in records:
        total.update(record[name])
    return total


def _commit() -> str:
    argv = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
