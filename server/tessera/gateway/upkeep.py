"""Gives back the jobs of dead workers and answers overdue ones; every gateway does, for all models."""

from __future__ import annotations

import asyncio
import time

import structlog

from tessera.errors import QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Broker
from tessera.settings import Settings
from tessera.telemetry import metrics

log = structlog.get_logger()


class Upkeep:
    """Reaps every quarter of a lease."""

    def __init__(self, broker: Broker, catalogue: Catalogue, settings: Settings):
        self._broker = broker
        self._catalogue = catalogue
        self._settings = settings
        self._not_before = 0.0

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            if time.monotonic() >= self._not_before:
                await self._reap()

    async def _reap(self) -> None:
        for model in [m.card.model for m in self._catalogue.known()]:
            try:
                requeued, evicted = await self._broker.reap(model)
            except QueueUnavailable:
                # Leases ran out while nobody could renew them; give the living workers time to do so first.
                self._not_before = time.monotonic() + self._settings.lease_s
                return
            if requeued or evicted:
                log.warning("jobs_reaped", model=model, requeued=requeued, evicted=evicted)
                metrics.REAPED.labels(model, "requeued").inc(requeued)
                metrics.REAPED.labels(model, "evicted").inc(evicted)
