"""The embedded model answers rightly, through the whole server: a shortened form of ``make nano-eval``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from models.nano.evaluation import Examiner
from models.nano.requirements import check
from models.nano.rows import Row, reading_curve, table
from models.nano.voices import VoiceBank
from tests.stack import RunningStack

pytestmark = pytest.mark.e2e
SCORES = Path(__file__).parents[2] / "models" / "nano" / "checkpoint" / "scores.json"
EXAMPLES = 60
# Of a model as good as the shipped one, one row in a hundred thousand would do worse.
IMPROBABLE = 1e-5


@pytest.fixture
def rows(tmp_path: Path, voices: VoiceBank) -> dict[str, Row]:
    check(tmp_path)
    return {row.name: row for row in (*table(voices), *reading_curve())}


def least(share: float, asked: int, improbable: float = IMPROBABLE) -> int:
    """The smallest number of right answers that is not improbably few, by the binomial distribution."""
    probability = 0.0
    for right in range(asked + 1):
        probability += math.comb(asked, right) * share**right * (1 - share) ** (asked - right)
        if probability > improbable:
            return right
    return asked


def test_fewer_right_answers_than_the_shipped_model_s_are_noticed() -> None:
    assert 48 <= least(0.95, EXAMPLES) <= 50
    assert least(0.5, EXAMPLES) > 10
    assert least(1.0, EXAMPLES) == EXAMPLES


@pytest.mark.parametrize("name", json.loads(SCORES.read_text()) if SCORES.exists() else [])
async def test_row(stack: RunningStack, rows: dict[str, Row], name: str) -> None:
    if name not in rows:
        pytest.fail(f"{SCORES.name} has a row {name!r} that is no longer asked")
    counts = json.loads(SCORES.read_text())[name]
    [score] = await Examiner(stack.url, stack.model).examine([rows[name]], EXAMPLES, lambda _: None)
    shipped = counts["right"] / counts["asked"]
    told = "\n".join(str(mistake) for mistake in score.mistakes)
    assert score.right >= least(shipped, EXAMPLES), (
        f"{score.right} of {EXAMPLES} are right; shipped {shipped:.3f}\n{told}"
    )


def test_every_row_has_a_shipped_score(rows: dict[str, Row]) -> None:
    assert set(rows) <= set(json.loads(SCORES.read_text()))
