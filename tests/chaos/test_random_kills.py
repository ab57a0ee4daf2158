"""The short form of ``make chaos``: parts are killed at random under load, and nothing is lost or sent twice."""

from __future__ import annotations

from loadtests.chaos.run import Plan, run
from loadtests.chaos.server import Size

SECONDS = 10.0


async def test_nothing_is_lost_or_sent_twice_whatever_dies() -> None:
    size = Size(workers=5, step_ms=25.0, lease_s=1.0)
    tally = await run(Plan(kills=1000, seconds=SECONDS, pause_s=0.7, streams=18, size=size))
    assert tally.clean, (tally.seen, tally.to_json())
    assert tally.kills > 3, "too little was killed to show anything"
    assert tally.answered > tally.failed.total(), tally.failed
    assert tally.gaps_s["worker killed"], "no stream was under way on a worker that was killed"
