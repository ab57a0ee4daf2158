"""What is told of a batch that people work beside."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from loadtests import bench_batch
from loadtests.bench_batch import Outcome, People, Plan
from tessera.worker.simulated.speech import Voice

PLAN = Plan(lines=3, every_s=0.1, seconds=1.0, step_ms=1.0, harm=False)


def verdict(outcome: Outcome) -> tuple[bool, str]:
    written = io.StringIO()
    good = bench_batch._show(outcome, PLAN, Console(file=written, width=200))
    return good, written.getvalue()


@pytest.mark.parametrize(
    ("beside", "wrong", "good"),
    [
        (People([0.108]), "", True),
        (People([0.112]), "", False),
        (People([0.1]), "answer 1 is that of r2", False),
        (People([0.1], Counter({"no answer": 1})), "", False),
    ],
    ids=["as fast", "slower", "a wrong answer", "an error"],
)
def test_what_people_notice_and_what_is_wrong_is_a_miss(beside: People, wrong: str, good: bool) -> None:
    told, text = verdict(Outcome(People([0.1]), beside, 1.0, wrong, (0, 0)))
    assert told == good
    assert wrong in text


class Batches:
    """Files of a server."""

    def __init__(self, lines: list[tuple[str, str]]):
        self.lines = lines

    async def download(self, file_id: str, path: Path) -> None:
        answers = [
            {"custom_id": name, "response": {"body": {"choices": [{"text": said}]}}} for name, said in self.lines
        ]
        path.write_bytes(b"".join(orjson.dumps(answer) + b"\n" for answer in answers))  # noqa: ASYNC240  # a few bytes


def said(n: int) -> str:
    return "".join(map(Voice(f"Number {n}".encode(), 0).token, range(bench_batch.TOKENS)))


GOOD = [(f"r{n}", said(n)) for n in range(3)]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (GOOD, ""),
        ([GOOD[0], GOOD[2], GOOD[1]], "answer 1 is that of r2"),
        ([GOOD[0], GOOD[1], ("r2", said(1))], "the answer of r2 is not its own"),
        ([GOOD[0], GOOD[1], ("r2", said(2)[:-7])], "the answer of r2 is not its own"),
        (GOOD[:2], "1 lines have no answer"),
    ],
    ids=["good", "another order", "another's answer", "cut short", "a line is missing"],
)
async def test_answers_are_looked_at(tmp_path: Path, lines: list[tuple[str, str]], wrong: str) -> None:
    counts = {"total": 3, "completed": 3, "failed": 0}
    batch: dict[str, Any] = {"status": "completed", "request_counts": counts, "error_file_id": None}
    batch["output_file_id"] = "file-1"
    batches: Any = Batches(lines)
    found = await bench_batch._wrong(batches, batch, 3, tmp_path / "out")
    assert found.startswith(wrong)
    assert bool(found) == bool(wrong)
