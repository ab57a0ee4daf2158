"""Takes up batches that nobody runs, and keeps those that this gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from tessera.batches import Claim, Lost
from tessera.errors import TesseraError
from tessera.gateway.batch_run import BatchRun
from tessera.gateway.services import Services
from tessera.telemetry import batches as metrics

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
# A batch that could not go on waits so long for the next try.
RETRY_S = 5.0


class BatchRunner:
    """All batches that one gateway runs."""

    def __init__(self, services: Services):
        self._services = services
        self._shelf = services.batches
        self._lease_s = services.settings.lease_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look for batches until cancelled; those that run are left to others then."""
        try:
            while True:
                with suppress(TesseraError):  # Redis is away, and the catalogue tells
                    await self._look()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        while len(self._tasks) < self._services.settings.batches_at_once:
            claim = await self._shelf.claim(self._lease_s)
            if claim is None:
                return
            log.info("batch_taken_up", batch=claim.batch_id, epoch=claim.epoch)
            task = asyncio.create_task(self._run(claim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, claim: Claim) -> None:
        run = BatchRun(self._services, self._shelf, claim)
        working = asyncio.create_task(run.run())
        keeping = asyncio.create_task(self._keep(claim, run))
        pause_s = 0.0
        try:
            with metrics.running.track_inprogress():
                await asyncio.wait([working, keeping], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        except Lost:
            log.info("batch_lost", batch=claim.batch_id)
        except TesseraError as error:
            log.warning("batch_interrupted", batch=claim.batch_id, code=error.code, retry_s=RETRY_S)
            pause_s = RETRY_S
        except Exception:
            log.exception("batch_failed", batch=claim.batch_id, retry_s=RETRY_S)
            pause_s = RETRY_S
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
            with suppress(Lost, TesseraError):
                await self._shelf.leave(claim, pause_s)

    async def _keep(self, claim: Claim, run: BatchRun) -> None:
        """Renew the claim, and see whether the batch is to be cancelled; returns once it is another's."""
        heard = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(min(self._lease_s / 5, LOOK_EVERY_S))
            try:
                status = await self._shelf.hold(claim, self._lease_s)
            except Lost:
                return
            except TesseraError:
                if asyncio.get_running_loop().time() - heard > self._lease_s:
                    return  # it is another's by now, or will be
                continue
            heard = asyncio.get_running_loop().time()
            if status == "cancelling":
                run.cancelling.set()


@asynccontextmanager
async def running_batches(services: Services) -> AsyncIterator[None]:
    """Run batches while the context lasts, where there is a place for their files."""
    if services.files is None or not services.settings.batches_at_once:
        yield
        return
    running = asyncio.create_task(BatchRunner(services).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
