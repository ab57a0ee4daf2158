from __future__ import annotations

import math

import pytest

from loadtests.chaos.release import root
from loadtests.media_gateway import measure


@pytest.mark.timeout(180)
async def test_times_to_the_queue_and_lateness_come_from_a_real_gateway():
    # Beside a server of another version, which is this one once more.
    report = (await measure(requests=20, seconds=0.5, others={"other": root()})).to_json()
    kinds = {"text", "image seen before", "new image"}
    for times in (report["to_queue_ms"], report["to_first_token_ms"]):
        assert set(times) == kinds | {f"{kind}, other" for kind in kinds}
        assert all(0 < one["p50"] <= one["p99"] < 60_000 for one in times.values()), times
    # What is queued has been decoded before.
    assert report["to_queue_ms"]["new image"]["p50"] > report["to_queue_ms"]["text"]["p50"]
    assert all(report["to_queue_ms"][kind]["p50"] < report["to_first_token_ms"][kind]["p50"] for kind in kinds)
    for noticed in (report["quiet"], report["loaded"]):
        measured = [noticed[name]["p99"] for name in ("event_loop_late_ms", "event_loop_work_ms", "text_ttft_ms")]
        assert not any(map(math.isnan, measured)), noticed
    assert report["loaded"]["decoded"] > report["quiet"]["decoded"] == 0
