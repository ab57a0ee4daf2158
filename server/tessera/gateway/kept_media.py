"""Media of requests that go on without their clients: it stays in the store until they have ended."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import structlog

from tessera.errors import QueueUnavailable
from tessera.queue import Named, Records
from tessera.telemetry import metrics

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
LOOKED_AT_ONCE = 128
# More than a media store has room for; beyond that, media may go when its room is needed.
MOST_KEPT = 16_384


class KeptMedia:
    """Holds that end with their jobs.

    When this gateway stops, they are left to lapse (``TESSERA_MEDIA_HOLD_LEASE_S``): the jobs may still need them.
    """

    def __init__(self, records: Records):
        self._records = records
        self._holds: dict[str, tuple[Named, AsyncExitStack]] = {}

    def add(self, job: Named, hold: AsyncExitStack) -> None:
        """Take a job's hold over, until the job has ended."""
        if job.id in self._holds:
            return
        if len(self._holds) >= MOST_KEPT:
            log.warning("media_not_kept", job=job.id, kept=MOST_KEPT)
            return
        self._holds[job.id] = (job, hold.pop_all())
        metrics.MEDIA_KEPT.set(len(self._holds))

    async def run(self) -> None:
        """Look for jobs that have ended, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except QueueUnavailable:
                continue  # the catalogue tells

    async def _look(self) -> None:
        jobs = [job for job, _ in self._holds.values()]
        for start in range(0, len(jobs), LOOKED_AT_ONCE):
            some = jobs[start : start + LOOKED_AT_ONCE]
            for job, ended in zip(some, await self._records.ended(some), strict=True):
                if ended:
                    _, hold = self._holds.pop(job.id)
                    await hold.aclose()
        metrics.MEDIA_KEPT.set(len(self._holds))
