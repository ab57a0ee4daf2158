"""Runs the jobs that it leases, keeps their leases, and gives them back when it must."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import redis.asyncio as aioredis
import structlog
from starlette.types import ASGIApp

from tessera.errors import QueueUnavailable
from tessera.queue import REDIS_UNAVAILABLE, Broker, Directory, Lease, ModelCard, PromptStore, listen
from tessera.settings import Settings
from tessera.telemetry.outage import Outage
from tessera.telemetry.spans import Span
from tessera.worker.delivery import begin_delivery, end_delivery
from tessera.worker.intake import RETRY_S, Intake
from tessera.worker.journal import Journal
from tessera.worker.replay import EngineDead, Replay
from tessera.worker.seats import Seats
from tessera.worker.transcript import Codec
from tessera.worker.writer import ReplyWriter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Running:
    lease: Lease
    replay: Replay
    task: asyncio.Task[None]


class Frontend:
    """One consumer of a model's queue.

    Args:
        redis: for commands, and for the two waits (work, cancellations) that hold a connection each.
        app: vLLM's application (ASGI).
        engine_dead: whether the engine can no longer answer.
        fingerprint: the engine's ``system_fingerprint``, where it has one.
        codec: how the engine's steps are stored, where they are recorded.
        prompts: the model's tokenizer and chat templates, as announced beside its card.
    """

    def __init__(
        self,
        settings: Settings,
        redis: aioredis.Redis,
        app: ASGIApp,
        card: ModelCard,
        engine_dead: Callable[[], bool],
        *,
        fingerprint: str | None = None,
        codec: Codec | None = None,
        prompts: bytes = b"",
    ):
        self.worker_id = f"{card.model}-{secrets.token_hex(4)}"
        self._settings = settings
        self._redis = redis
        self._broker = Broker(redis, settings)
        self._directory = Directory(redis, self._broker.keys)
        self._prompts, self._prompt_store = prompts, PromptStore(redis, self._broker.keys)
        self._app = app
        self._card = card
        self._engine_dead = engine_dead
        self._fingerprint = fingerprint
        self._journal = Journal(self._broker, codec)
        self._outage = Outage("queue_unreachable", "queue_reached", worker=self.worker_id)
        self._writer = ReplyWriter(self._broker, card.model, self._abort, self._outage)
        self._running: dict[str, _Running] = {}
        self._seats = Seats(card.sequences, self._broker.places_of_batches(card.sequences))
        self._intake = Intake(
            self._broker,
            redis,
            card.model,
            self.worker_id,
            self._seats,
            lease_s=settings.lease_s,
            prepare=self._catch_up,
            begin=self._begin,
            engine_dead=engine_dead,
            outage=self._outage,
        )
        self._renewed = time.monotonic()

    async def run(self) -> None:
        """Serve until ``stop``, or until the engine dies; then let running jobs end, and give back what remains."""
        period_s = self._settings.lease_s / 5
        announcing = asyncio.create_task(self._repeat(self._announce, period_s))
        work = [self._renew, self._reap, *([self._announce_prompts] if self._prompts else [])]
        repeated = [self._repeat(each, period_s) for each in work]
        keepers = [asyncio.create_task(work) for work in (*repeated, self._obey())]
        leasing = asyncio.create_task(self._intake.run())
        try:
            await asyncio.wait([leasing])
            await self._withdraw(announcing)
            await self._drain()
        finally:
            self.stop()
            await asyncio.wait([leasing])
            await _end(announcing)
            await self._give_back()
            await _end(*keepers)

    def stop(self) -> None:
        """Take no more jobs; ``run`` returns once those that run have ended."""
        self._intake.stop()

    async def _catch_up(self) -> None:
        if time.monotonic() - self._renewed > self._settings.lease_s:
            # This process was stopped, or its loop was: what lapsed meanwhile goes on here rather than anew.
            await self._renew()

    def _begin(self, lease: Lease) -> None:
        span = begin_delivery(lease, self.worker_id)
        replay = Replay(
            self._app,
            lease,
            self._writer,
            self._journal,
            self._engine_dead,
            fingerprint=self._fingerprint,
            trace=lease.job.trace if span is None else span.carried(),
        )
        stale = self._running.get(lease.job.id)
        task = asyncio.create_task(self._run(lease, replay, stale, span))
        self._running[lease.job.id] = _Running(lease, replay, task)
        self._seats.take(task, lease)
        task.add_done_callback(partial(self._ended, lease))
        if span is not None:
            task.add_done_callback(partial(end_delivery, span))

    def _ended(self, lease: Lease, task: asyncio.Task[None]) -> None:
        # A callback, not a context manager in the task: it also runs for a task that is cancelled before it starts.
        self._seats.give_back(task)
        if self._holds(lease):
            del self._running[lease.job.id]

    async def _run(self, lease: Lease, replay: Replay, stale: _Running | None, span: Span | None) -> None:
        if stale is not None:
            # This worker was silent for so long that it lost the job, and was the one to get it again.
            await _end(stale.task)
        try:
            await replay.run()
        except EngineDead as error:
            if span is not None:
                span.error = type(error).__name__
            self.stop()
            log.warning("engine_died_under_job", job=lease.job.id, attempts=lease.attempts)
            with suppress(QueueUnavailable):  # otherwise its lease runs out, which does the same later
                await self._broker.release(self._card.model, [lease], failed=True)

    def _holds(self, lease: Lease) -> bool:
        running = self._running.get(lease.job.id)
        return running is not None and running.lease is lease

    def _abort(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            if job_id in self._running:
                log.info("job_aborted", job=job_id)
                self._running[job_id].replay.abort()

    async def _repeat(self, work: Callable[[], Awaitable[None]], period_s: float) -> None:
        """Do some work in every period, sooner where it failed: a worker that does not may lose its jobs."""
        activity = work.__name__.strip("_")
        while True:
            pause_s = period_s
            try:
                await work()
                self._outage.works(activity)
            except (QueueUnavailable, *REDIS_UNAVAILABLE) as error:
                pause_s = min(period_s, RETRY_S)
                self._outage.failed(activity, error)
            except Exception:
                log.exception("keeper_failed", activity=activity)
            await asyncio.sleep(pause_s)

    async def describe(self, card: ModelCard) -> None:
        """What it serves has changed: say so at once, or where Redis is away soon."""
        self._card = card
        if not self._intake.stopped:
            with suppress(*REDIS_UNAVAILABLE):
                await self._announce()

    async def _announce(self) -> None:
        if not self._engine_dead():
            await self._directory.announce(self.worker_id, self._card, ttl_s=self._settings.lease_s)

    async def _announce_prompts(self) -> None:
        # Models are known for as long after their last worker.
        ttl_s = self._settings.worker_grace_s + self._settings.lease_s
        await self._prompt_store.announce(self._card.prompts, self._prompts, ttl_s=ttl_s)

    async def _withdraw(self, announcing: asyncio.Task[None]) -> None:
        await _end(announcing)
        try:
            await self._directory.withdraw(self.worker_id)
        except Exception as error:
            log.warning("withdrawal_failed", worker=self.worker_id, error=str(error))  # it expires by itself

    async def _renew(self) -> None:
        began = time.monotonic()
        held = [running.lease for running in self._running.values()]
        if held:
            renewed = await self._broker.renew(self._card.model, held)
            lost = set(renewed)
            self._abort([lease.job.id for lease in held if lease.job.id in lost and self._holds(lease)])
            for lease in held:
                if (width := renewed.widths.get(lease.job.id)) is not None and self._holds(lease):
                    self._seats.narrow(self._running[lease.job.id].task, width)
        self._renewed = began

    async def _reap(self) -> None:
        # Where gateways are gone, or too busy, nobody else would give back what dead workers left.
        reaped = await self._broker.reap(self._card.model, stand_in=True)
        if any(reaped):
            log.warning("jobs_reaped", model=self._card.model, **reaped._asdict())

    async def _obey(self) -> None:
        control = self._broker.keys.worker(self.worker_id)
        # What was cancelled while nobody listened is found by renewing.
        await listen(self._redis, control, lambda message: self._abort([message.decode()]), self._renew)

    async def _drain(self) -> None:
        if (tasks := self._seats.tasks) and not self._engine_dead():
            log.info("worker_draining", jobs=len(tasks), at_most_s=self._settings.drain_timeout_s)
            await asyncio.wait(tasks, timeout=self._settings.drain_timeout_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.redis_timeout_s):
                await self._writer.drain()

    async def _give_back(self) -> None:
        held = [running.lease for running in self._running.values()]
        if held:
            await _end(*self._seats.tasks)
            with suppress(QueueUnavailable):  # otherwise their leases run out
                requeued = await self._broker.release(self._card.model, held, failed=self._engine_dead())
                log.warning("jobs_given_back", jobs=len(held), requeued=requeued)


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
