from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tessera.gateway.upkeep import Upkeep
from tessera.queue import Reaped
from tessera.settings import Settings
from tests.polling import eventually


class Broker:
    def __init__(self, next_s: float = math.inf) -> None:
        self.reaped = 0
        self.next_s = next_s

    async def reap(self, model: str, *, gateway_id: str) -> Reaped:
        self.reaped += 1
        reaped = Reaped(*[0] * len(Reaped._fields))
        reaped.next_s = self.next_s
        return reaped


class Catalogue:
    def names(self) -> list[str]:
        return ["m"]


@pytest.mark.parametrize(("next_s", "times"), [(math.inf, 2), (0.01, 100)])
async def test_it_reaps_now_and_then_and_when_a_lease_runs_out_however_long_leases_are(
    next_s: float, times: int
) -> None:
    broker: Any = Broker(next_s)
    catalogue: Any = Catalogue()
    running = asyncio.create_task(Upkeep(broker, catalogue, Settings(lease_s=600), "g").run())
    await eventually(lambda: broker.reaped >= times, f"it reaps {times} times", within_s=20)
    running.cancel()
    await asyncio.wait([running])
