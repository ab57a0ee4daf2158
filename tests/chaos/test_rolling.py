"""The short form of ``make rolling``: everything is replaced under load, and no client notices."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from loadtests.chaos.rolling import roll
from loadtests.chaos.run import Plan, run
from loadtests.chaos.server import Size


@pytest.mark.timeout(240)
async def test_no_client_notices_that_all_is_replaced(tmp_path: Path) -> None:
    # Answers take up to 2 s: some end within the drain of their worker, and others are gone on with elsewhere.
    size = Size(workers=2, step_ms=15.0, drain_s=0.3, gateway_drain_s=60.0, gateway_notice_s=2.0)
    plan = Plan(kills=0, seconds=0, streams=8, size=size)
    tally = await run(plan, tmp_path, act=partial(roll, rounds=1))
    assert tally.strikes == {"gateway replaced": 2, "worker replaced": 2}
    assert tally.unnoticed, (tally.seen, tally.to_json())
    assert tally.gaps_s["worker replaced"], "no answer was under way at a worker that was told to end"
