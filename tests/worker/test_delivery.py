"""What a trace tells of a job's end in a worker."""

from __future__ import annotations

import pytest

from tessera.queue import Broker
from tessera.settings import Settings
from tessera.telemetry import tracing
from tests.polling import eventually
from tests.telemetry.collector import collector
from tests.worker.floor import Application, Floor, all_answered
from tests.worker.jobs import enqueue


async def test_an_engine_that_died_is_told_at_once(
    floor: Floor, broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "PERIOD_S", 60.0)
    dying, next_one = Application(), Application()
    next_one.go.set()
    async with collector() as traces:
        traced = settings.model_copy(update={"otlp_endpoint": traces.url})
        async with tracing.tracing(traced, "tessera-worker"):
            first = floor.start(dying)
            job = await enqueue(broker)
            await eventually(lambda: dying.running == 1, "it runs")
            dying.dead = True
            dying.go.set()
            await floor.ended(first)
            await eventually(lambda: len(traces.spans) >= 2, "told before the period is over")
            floor.start(next_one)
            await all_answered(broker, [job])
    workers = [span for span in traces.spans if span.name == "worker"]
    assert [(span.error, span.attributes["tessera.attempt"]) for span in workers] == [("EngineDead", 1), (None, 2)]
