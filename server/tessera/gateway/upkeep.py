"""Keeps this gateway's jobs alive, and reaps those of others that went silent; every gateway does, for all models."""

from __future__ import annotations

import asyncio

import structlog

from tessera.errors import QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Broker
from tessera.settings import Settings

log = structlog.get_logger()

# So that what waited too long is answered soon, however long leases are.
LONGEST_PAUSE_S = 0.5
# Redis' milliseconds are whole ones.
ROUNDING_S = 0.002


class Upkeep:
    """Reaps every quarter of a lease, at least twice a second, and whenever a lease runs out that was not renewed."""

    def __init__(self, broker: Broker, catalogue: Catalogue, settings: Settings, gateway_id: str):
        self._broker = broker
        self._catalogue = catalogue
        self._settings = settings
        self._gateway_id = gateway_id

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            pause_s = await self._reap_all()
            await asyncio.sleep(pause_s)

    async def _reap_all(self) -> float:
        """Returns for how long there is nothing to do."""
        pause_s = min(self._settings.lease_s / 4, LONGEST_PAUSE_S)
        for model in self._catalogue.names():
            try:
                reaped = await self._broker.reap(model, gateway_id=self._gateway_id)
            except QueueUnavailable:
                break  # the catalogue tells
            if any(reaped):
                log.warning("jobs_reaped", model=model, **reaped._asdict())
            pause_s = min(pause_s, reaped.next_s + ROUNDING_S)
        return pause_s
