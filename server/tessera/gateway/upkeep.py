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
        self._last_known: dict[str, float] = {}

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            if time.monotonic() >= self._not_before:
                await self._reap()

    async def _reap(self) -> None:
        for model in self._models():
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

    def _models(self) -> list[str]:
        """Models of the directory, and those that left it while jobs of theirs may still wait."""
        now = time.monotonic()
        self._last_known |= {m.card.model: now for m in self._catalogue.known()}
        waited = self._settings.queue_timeout_s + 2 * self._settings.lease_s
        self._last_known = {model: seen for model, seen in self._last_known.items() if now - seen < waited}
        return list(self._last_known)
