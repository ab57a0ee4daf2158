"""How much all models' requests take in Redis together, as far as this gateway knows."""

from __future__ import annotations

import asyncio

from tessera.errors import QueueBytesFull, QueueUnavailable
from tessera.gateway.catalogue import Catalogue
from tessera.queue import Broker, Job
from tessera.settings import Settings

REFRESH_EVERY_S = 1.0


class QueuedBytes:
    """A sum over the models, each of which counts exactly: as last read, and what this gateway has queued since.

    What other gateways queued since then is missing, so that a burst to many of them may go beyond the budget.
    """

    def __init__(self, broker: Broker, catalogue: Catalogue, settings: Settings):
        self._broker = broker
        self._catalogue = catalogue
        self._most = settings.max_queued_bytes_in_all
        self._known = 0

    def check(self, job: Job) -> None:
        """Say whether there is room for a job.

        Raises:
            QueueBytesFull: there is none. One that is alone is taken, however large.
        """
        if self._known > 0 and self._known + len(job.body) > self._most:
            raise QueueBytesFull(
                f"The requests that wait or run, of all models, are as large as all of them may be, {self._most:,} "
                "bytes. Send fewer or smaller ones at once, or retry later.",
                retry_after_s=5,
            )

    def add(self, job: Job) -> None:
        """Count a job that was queued."""
        self._known += len(job.body)

    async def refresh(self) -> None:
        """Read the models' sums. Raises ``QueueUnavailable``."""
        names = [m.card.model for m in self._catalogue.known()]
        self._known = sum((await self._broker.queued_bytes(names)).values())

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                await self.refresh()
            except QueueUnavailable:
                continue  # the catalogue tells; what is known still holds
