"""Keeps this gateway's jobs alive, and reaps those of others that went silent; every gateway does, for all models."""

from __future__ import annotations

import asyncio
import time

import structlog

from tessera.errors import QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Broker, Reaped
from tessera.settings import Settings
from tessera.telemetry import metrics

log = structlog.get_logger()


class Upkeep:
    """Reaps every quarter of a lease."""

    def __init__(self, broker: Broker, catalogue: Catalogue, settings: Settings, gateway_id: str):
        self._broker = broker
        self._catalogue = catalogue
        self._settings = settings
        self._gateway_id = gateway_id
        self._last_known: dict[str, float] = {}

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            for model in self._models():
                try:
                    _tell(model, await self._broker.reap(model, gateway_id=self._gateway_id))
                except QueueUnavailable:
                    break  # the catalogue tells

    def _models(self) -> list[str]:
        """Models of the directory, and those that left it while jobs of theirs may still wait."""
        now = time.monotonic()
        self._last_known |= {m.card.model: now for m in self._catalogue.known()}
        waited = self._settings.queue_timeout_s + 2 * self._settings.lease_s
        self._last_known = {model: seen for model, seen in self._last_known.items() if now - seen < waited}
        return list(self._last_known)


def _tell(model: str, reaped: Reaped) -> None:
    if any(reaped):
        log.warning("jobs_reaped", model=model, **reaped._asdict())
        for outcome, count in reaped._asdict().items():
            metrics.REAPED.labels(model, outcome).inc(count)
