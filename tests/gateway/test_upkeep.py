from __future__ import annotations

import asyncio
from typing import Any

from tessera.gateway.upkeep import Upkeep
from tessera.queue import Reaped
from tessera.settings import Settings
from tests.polling import eventually


class Broker:
    def __init__(self) -> None:
        self.reaped = 0

    async def reap(self, model: str, *, gateway_id: str) -> Reaped:
        self.reaped += 1
        return Reaped(*[0] * len(Reaped._fields))


class Catalogue:
    def names(self) -> list[str]:
        return ["m"]


async def test_a_long_lease_does_not_put_off_what_comes_after_it() -> None:
    broker: Any = Broker()
    catalogue: Any = Catalogue()
    running = asyncio.create_task(Upkeep(broker, catalogue, Settings(lease_s=600), "g").run())
    await eventually(lambda: broker.reaped >= 2, "it reaps twice", within_s=20)
    running.cancel()
    await asyncio.wait([running])
