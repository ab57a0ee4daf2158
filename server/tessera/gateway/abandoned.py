"""Jobs that nobody waits for any more, on their way to being cancelled."""

from __future__ import annotations

import asyncio
from itertools import islice

from tessera.errors import QueueUnavailable
from tessera.queue import Broker, Named

RETRY_S = 0.25
CANCELLED_AT_ONCE = 128
# Of a model; more than a gateway has streams. Beyond that the oldest are given up: they run for nobody.
MOST_KEPT = 65_536


class Abandoned:
    """Cancels jobs at once, and as soon as Redis is back where it is away: they occupy seats until then."""

    def __init__(self, broker: Broker):
        self._broker = broker
        self._jobs: dict[str, dict[str, None]] = {}
        self._added = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def add(self, job: Named) -> None:
        """Cancel a job, soon: nobody is kept waiting for it, and Redis may be what has failed."""
        jobs = self._jobs.setdefault(job.model, {})
        if len(jobs) >= MOST_KEPT:
            del jobs[next(iter(jobs))]
        jobs[job.id] = None
        self._settled.clear()
        self._added.set()

    async def run(self) -> None:
        """Cancel what is added, until cancelled oneself."""
        while True:
            await self._added.wait()
            try:
                await self._cancel_some()
            except QueueUnavailable:
                await asyncio.sleep(RETRY_S)

    async def settle(self, *, at_most_s: float) -> None:
        """Wait until all are cancelled; those that are not in time end with the gateway's lease."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._settled.wait()
        except TimeoutError:
            return

    async def _cancel_some(self) -> None:
        model, jobs = next(iter(self._jobs.items()))
        ids = list(islice(jobs, CANCELLED_AT_ONCE))
        await self._broker.cancel_all(model, ids)
        for job_id in ids:
            jobs.pop(job_id, None)
        if not jobs:
            del self._jobs[model]
        if not self._jobs:
            self._added.clear()
            self._settled.set()
