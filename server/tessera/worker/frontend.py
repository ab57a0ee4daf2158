"""Leases jobs as long as the engine has room, runs them, keeps their leases, and gives them back when it must."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import redis.asyncio as aioredis
import structlog
from starlette.types import ASGIApp

from tessera.errors import QueueUnavailable
from tessera.queue import REDIS_UNAVAILABLE, Broker, Directory, Lease, ModelCard, Wakeup, listen
from tessera.settings import Settings
from tessera.worker.replay import EngineDead, Replay
from tessera.worker.writer import ReplyWriter

log = structlog.get_logger()

RETRY_S = 0.5
# Taken in one go; small, so that idle workers share a burst.
LEASED_AT_ONCE = 16


class Frontend:
    """One consumer of a model's queue.

    Args:
        redis: for commands, and for the two waits (work, cancellations) that hold a connection each.
        app: vLLM's application (ASGI).
        engine_dead: whether the engine can no longer answer.
    """

    def __init__(
        self, settings: Settings, redis: aioredis.Redis, app: ASGIApp, card: ModelCard, engine_dead: Callable[[], bool]
    ):
        self.worker_id = f"{card.model}-{secrets.token_hex(4)}"
        self._settings = settings
        self._redis = redis
        self._broker = Broker(redis, settings)
        self._directory = Directory(redis, self._broker.keys)
        self._wakeup = Wakeup(redis, self._broker.keys, card.model)
        self._app = app
        self._card = card
        self._engine_dead = engine_dead
        self._writer = ReplyWriter(self._broker, card.model, self._abort)
        self._running: dict[str, tuple[Lease, Replay]] = {}
        self._sequences = 0
        self._changed = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self._leasing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until ``stop``, or until the engine dies; then let running jobs end, and give back what remains."""
        keepers = [asyncio.create_task(work) for work in (self._announce(), self._renew(), self._obey())]
        self._leasing = asyncio.create_task(self._lease())
        try:
            await asyncio.wait([self._leasing])
            with suppress(*REDIS_UNAVAILABLE):
                await self._directory.withdraw(self.worker_id)
            await self._drain()
        finally:
            self._leasing.cancel()
            for keeper in keepers:
                keeper.cancel()
            await self._give_back()
            await asyncio.gather(self._leasing, *keepers, return_exceptions=True)

    def stop(self) -> None:
        """Take no more jobs; ``run`` returns once those that run have ended."""
        if self._leasing is not None:
            self._leasing.cancel()

    async def _lease(self) -> None:
        most = self._card.sequences
        while not self._engine_dead():
            if self._sequences >= most:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                free, idle = most - self._sequences, not self._running
                leases = await self._broker.lease(
                    self._card.model, self.worker_id, free=free, idle=idle, most=LEASED_AT_ONCE
                )
                for lease in leases:
                    task = asyncio.create_task(self._run(lease))
                    self._jobs.add(task)
                    task.add_done_callback(self._jobs.discard)
                # Give them their place before the next look; without work, or without room for the next job, wait.
                await (asyncio.sleep(0) if leases else self._wakeup.wait())
            except (QueueUnavailable, *REDIS_UNAVAILABLE) as error:
                log.warning("queue_unreachable", error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _run(self, lease: Lease) -> None:
        replay = Replay(self._app, lease, self._writer, self._engine_dead)
        with self._slot(lease, replay):
            try:
                await replay.run()
            except EngineDead:
                self.stop()
                log.warning("engine_died_under_job", job=lease.job.id, attempts=lease.attempts)
                with suppress(QueueUnavailable):  # otherwise its lease runs out, which does the same later
                    await self._broker.release(self._card.model, [lease], failed=True)

    @contextmanager
    def _slot(self, lease: Lease, replay: Replay) -> Iterator[None]:
        self._running[lease.job.id] = lease, replay
        self._sequences += lease.job.sequences
        try:
            yield
        finally:
            del self._running[lease.job.id]
            self._sequences -= lease.job.sequences
            self._changed.set()

    def _abort(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            if job_id in self._running:
                log.info("job_aborted", job=job_id)
                self._running[job_id][1].abort()

    async def _announce(self) -> None:
        ttl_s = self._settings.lease_s
        while True:
            if not self._engine_dead():
                with suppress(*REDIS_UNAVAILABLE):
                    await self._directory.announce(self.worker_id, self._card, ttl_s=ttl_s)
            await asyncio.sleep(ttl_s / 4)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            held = [lease for lease, _ in self._running.values()]
            if held:
                with suppress(QueueUnavailable):
                    self._abort(await self._broker.renew(self._card.model, held))

    async def _obey(self) -> None:
        async def subscribed() -> None:
            log.debug("worker_listening", worker=self.worker_id)

        control = self._broker.keys.worker(self.worker_id)
        await listen(self._redis, control, lambda message: self._abort([message.decode()]), subscribed)

    async def _drain(self) -> None:
        if self._jobs and not self._engine_dead():
            log.info("worker_draining", jobs=len(self._jobs), at_most_s=self._settings.drain_timeout_s)
            await asyncio.wait(self._jobs, timeout=self._settings.drain_timeout_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._writer.drain(), self._settings.redis_timeout_s)

    async def _give_back(self) -> None:
        held = [lease for lease, _ in self._running.values()]
        for task in list(self._jobs):
            task.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if held:
            with suppress(QueueUnavailable):
                requeued = await self._broker.release(self._card.model, held, failed=self._engine_dead())
                log.warning("jobs_given_back", jobs=len(held), requeued=requeued)
