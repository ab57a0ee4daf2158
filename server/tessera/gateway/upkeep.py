"""Keeps this gateway's jobs alive, and reaps those of others that went silent; every gateway does, for all models."""

from __future__ import annotations

import asyncio

import structlog

from tessera.errors import QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Broker, Reaped
from tessera.settings import Settings
from tessera.telemetry import metrics

log = structlog.get_logger()

# So that the work of a dead worker goes on soon after its lease, however long leases are.
LONGEST_PAUSE_S = 0.5


class Upkeep:
    """Reaps every quarter of a lease, and at least twice a second."""

    def __init__(self, broker: Broker, catalogue: Catalogue, settings: Settings, gateway_id: str):
        self._broker = broker
        self._catalogue = catalogue
        self._settings = settings
        self._gateway_id = gateway_id

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            await asyncio.sleep(min(self._settings.lease_s / 4, LONGEST_PAUSE_S))
            for model in self._catalogue.names():
                try:
                    _tell(model, await self._broker.reap(model, gateway_id=self._gateway_id))
                except QueueUnavailable:
                    break  # the catalogue tells


def _tell(model: str, reaped: Reaped) -> None:
    if any(reaped):
        log.warning("jobs_reaped", model=model, **reaped._asdict())
        for outcome, count in reaped._asdict().items():
            metrics.REAPED.labels(model, outcome).inc(count)
