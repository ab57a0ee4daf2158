"""Requests that go on without their clients: their media stays in the store, and their tokens are counted."""

from __future__ import annotations

import asyncio

import structlog

from tessera.errors import QueueUnavailable
from tessera.gateway.inherited_media import holder_of
from tessera.gateway.observation import count_tokens
from tessera.media import MediaStage
from tessera.queue import End, Named, Records
from tessera.settings import PriceSettings
from tessera.telemetry import metrics

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
LOOKED_AT_ONCE = 128
# More than a gateway has streams; nothing is done for those beyond that, which go on all the same.
MOST_KEPT = 65_536


class Unattended:
    """What this gateway does for such requests of its own, until they have ended.

    When it stops, their holds of media are not ended: other gateways keep them (see ``InheritedMedia``).
    """

    def __init__(self, records: Records, stage: MediaStage, prices: PriceSettings):
        self._prices = prices
        self._records = records
        self._stage = stage
        self._jobs: dict[str, Named] = {}

    def add(self, job: Named) -> bool:
        """Take a job over, with the media that it holds. Returns False where there are too many."""
        if len(self._jobs) >= MOST_KEPT:
            log.warning("unattended_request_not_kept", job=job.id, kept=MOST_KEPT)
            return False
        self._jobs[job.id] = job
        metrics.UNATTENDED.set(len(self._jobs))
        return True

    async def run(self) -> None:
        """Look for jobs that have ended, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except QueueUnavailable:
                continue  # the catalogue tells

    async def _look(self) -> None:
        jobs = list(self._jobs.values())
        for start in range(0, len(jobs), LOOKED_AT_ONCE):
            some = jobs[start : start + LOOKED_AT_ONCE]
            for job, ended in zip(some, await self._records.ended(some), strict=True):
                if ended:
                    await self._conclude(job)
        metrics.UNATTENDED.set(len(self._jobs))

    async def _conclude(self, job: Named) -> None:
        record = await self._records.find([job.model], [job.id])
        del self._jobs[job.id]
        self._stage.release(holder_of(job))
        if record is not None and isinstance(record.last, End):
            count_tokens(job.model, record.last.usage, record.tenant, self._prices)
