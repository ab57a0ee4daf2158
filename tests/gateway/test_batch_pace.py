from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tessera.gateway import batch_pace
from tessera.gateway.batch_pace import LEAST_S, MOST_S, Pace


@pytest.mark.parametrize(
    ("takes_s", "pause_s", "gather_s"),
    [
        pytest.param(0.0001, LEAST_S, 0.0001 / 32, id="people's requests come in between"),
        pytest.param(0.4, 0.9 * 0.4 / 32, 0.4 / 32, id="evenly, and a little sooner"),
        pytest.param(3600.0, MOST_S, MOST_S, id="a batch begins within seconds whatever its lines take"),
    ],
)
async def test_lines_begin_evenly_over_the_time_that_one_takes(
    monkeypatch: pytest.MonkeyPatch, takes_s: float, pause_s: float, gather_s: float
) -> None:
    now = 0.0
    monkeypatch.setattr(batch_pace, "time", SimpleNamespace(monotonic=lambda: now))
    pace = Pace(32)
    assert pace.pause_s == LEAST_S, "nothing is known yet"
    for _ in range(100):
        line = asyncio.create_task(asyncio.sleep(0))
        pace.begin(line)
        now += takes_s
        await line
        await asyncio.sleep(0)
    assert pace.pause_s == pytest.approx(pause_s, rel=0.01)
    assert pace.gather_s == pytest.approx(gather_s, rel=0.01)


async def test_lines_that_are_given_up_count_as_well() -> None:
    pace = Pace(1)
    line = asyncio.create_task(asyncio.sleep(60))
    pace.begin(line)
    await asyncio.sleep(0.05)
    line.cancel()
    await asyncio.wait([line])
    await asyncio.sleep(0)
    assert pace.pause_s > LEAST_S
