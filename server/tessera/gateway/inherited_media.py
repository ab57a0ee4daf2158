"""Media of requests whose gateway is gone and that go on: every gateway holds it for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tessera.errors import MediaStoreUnavailable, QueueUnavailable
from tessera.media import RedisMediaStore
from tessera.queue import JobName, Named, Records
from tessera.settings import Settings
from tessera.telemetry import media as metrics


def holder_of(job: Named) -> str:
    """The name under which a request holds its media: whoever finds a hold knows whose it is."""
    return f"{job.id} {job.model}"


class InheritedMedia:
    """Renews holds that nobody has renewed for a while and whose jobs wait or run.

    It looks as often as a gateway renews its own, for holds that would lapse within half of their lease.
    """

    def __init__(self, store: RedisMediaStore, records: Records, settings: Settings):
        self._store = store
        self._records = records
        self._every_s = settings.media_hold_lease_s / 4

    async def run(self) -> None:
        """Look until cancelled, for the first time at once: before this gateway ends what has lapsed."""
        while True:
            with suppress(MediaStoreUnavailable, QueueUnavailable):  # whoever needs them tells
                await self._look()
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        lapsing = await self._store.lapsing()
        # Gateways of earlier versions had holders of other names.
        jobs = {holder: JobName(*holder.split(" ", 1)) for holder in lapsing if " " in holder}
        ended = await self._records.ended(list(jobs.values()))
        for holder, over in zip(jobs, ended, strict=True):
            if not over:
                await self._store.renew(holder, lapsing[holder])
                metrics.holds_inherited.inc(len(lapsing[holder]))
