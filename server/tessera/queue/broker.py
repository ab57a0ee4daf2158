"""The queue's verbs. Each is one atomic Lua script in ``lua/``; any of them may be repeated."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import suppress

import redis.asyncio as aioredis

from tessera.errors import Overloaded, QueueBytesFull, QueueUnavailable
from tessera.queue.census import Census, number_of, take_census
from tessera.queue.connection import reach
from tessera.queue.damage import sound, tell_damaged
from tessera.queue.dead_letters import tell_set_aside
from tessera.queue.job import Job, Lease, Leases, Lost
from tessera.queue.once import Once, earlier
from tessera.queue.reaped import Reaped
from tessera.queue.reply_logs import ReplyLogs, in_batches
from tessera.settings import Settings

# Jobs of each kind in one call, so that nobody else waits long for Redis.
REAPED_AT_ONCE = 128
# What `enqueue.lua` returns where the bodies take all the room.
_FULL, _BYTES_FULL = -1, -2


class Broker(ReplyLogs):
    """The queue of every model in one Redis, and its jobs' reply logs.

    Every method raises ``QueueUnavailable`` when Redis cannot be reached in ``TESSERA_REDIS_TIMEOUT_S``.
    """

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        super().__init__(redis, settings)
        dead = (settings.max_dead_jobs, settings.max_dead_bytes, settings.dead_ttl_s * 1000)
        self._limits = (settings.max_attempts, self._reply_ttl_ms, *dead)
        self._enqueue, self._begun, self._lease = (self._script(n) for n in ("enqueue", "begun", "lease"))
        self._renew, self._release = (self._script(n) for n in ("renew", "release"))
        self._reject = self._script("reject")
        self._cancel, self._reap = (self._script(n) for n in ("cancel", "reap"))
        self._unanswered: dict[tuple[str, str], int] = {}

    async def ping(self) -> None:
        """Ask whether Redis answers."""
        async with reach(self._settings):
            await self._redis.ping()

    async def enqueue(self, job: Job, *, reply_to: str, lasting: bool = False) -> int:
        """Add a job to its model's queue.

        Args:
            reply_to: id of the gateway that the reply is announced to, and that the job ends with.
            lasting: it does not end with it.

        Returns:
            The queue's length, the job included.

        Raises:
            Overloaded: the queue holds ``TESSERA_MAX_QUEUED_JOBS``.
            QueueBytesFull: the bodies of its jobs would be above ``TESSERA_MAX_QUEUED_BYTES``.
        """
        return int(await self._add(job, reply_to, lasting))

    async def enqueue_once(self, job: Job, once: Once, *, reply_to: str, lasting: bool) -> str | None:
        """Add a job, unless one stands that began by the same key: its id is returned then.

        Raises:
            IdempotencyKeyReused: something else was sent with the key.
            Overloaded, QueueBytesFull: as ``enqueue`` does.
        """
        settings = self._settings
        remembered = (once.tenant, settings.idempotency_ttl_s * 1000, settings.max_idempotency_keys)
        return earlier(await self._add(job, reply_to, lasting, once.name, once.digest, *remembered))

    async def begun(self, model: str, once: Once) -> str | None:
        """The id of the job that began by a key and whose answer stands: it is to come, or kept and no failure.

        Raises:
            IdempotencyKeyReused: something else was sent with the key.
        """
        return earlier(await self._call(self._begun, model, once.name, once.digest))

    async def _add(self, job: Job, reply_to: str, lasting: bool, *once: str | int) -> int | bytes:
        settings = self._settings
        timeout_ms = int((settings.batch_window_s if job.batch else settings.queue_timeout_s) * 1000)
        limits = (settings.max_queued_jobs, timeout_ms, self._reply_ttl_ms, self._lease_ms)
        owner = "" if lasting else reply_to
        arguments = (owner, self.keys.gateway(reply_to), job.sequences, job.meta(), job.body)
        # The other half is for people alone.
        room = settings.max_queued_bytes // (1 + job.batch)
        added: int | bytes = await self._call(
            self._enqueue, job.model, job.id, *limits, *arguments, room, int(job.batch), *once
        )
        if added == _BYTES_FULL:
            raise QueueBytesFull(
                f"The requests that wait for the model `{job.model}` or run are as large as all of them may be, "
                f"{settings.max_queued_bytes:,} bytes. Send fewer or smaller ones at once, or retry later.",
                retry_after_s=5,
            )
        if added == _FULL:
            raise Overloaded(
                f"{settings.max_queued_jobs} requests are already waiting for the model `{job.model}`. "
                "Send fewer at once, or retry later.",
                retry_after_s=5,
            )
        return added

    async def lease(
        self,
        model: str,
        worker_id: str,
        *,
        free: int,
        capacity: int,
        most: int,
        most_of_batches: int | None = None,
        of_batches: int = 0,
        wait_s: float = 0.0,
    ) -> Leases:
        """Take waiting jobs that fit, oldest first. One that does not is passed, but not for ever.

        Jobs of batches come last, and take up no more than ``TESSERA_BATCH_SHARE`` of a worker.

        Whatever a call that failed has taken, the worker's next one returns; one at a time for each worker.

        Args:
            free: sequences that the engine has room for now.
            capacity: sequences that it runs at once; a wider job takes up all of it.
            most: jobs to take at the most.
            most_of_batches: jobs of batches among these; None: as many.
            of_batches: sequences that jobs of batches take up now.
            wait_s: wait for a job to be queued, so long at the most; 0: take what is there. It is taken in the same
                trip in which the wait ends. A wait may be cancelled; what it took then, the next call returns.
        """
        again = (model, worker_id) in self._unanswered
        claim = self._unanswered.setdefault((model, worker_id), time.time_ns() // 1000)
        passing = (self._settings.max_overtakings, int(self._settings.max_overtaking_s * 1000))
        for_batches = self.places_of_batches(capacity)
        batches = (for_batches - of_batches, for_batches, most if most_of_batches is None else most_of_batches)
        room = (free, capacity, most, self._lease_ms, *passing, *batches)
        arguments = (*self._limits, worker_id, claim, int(again), *room)
        wait = [("BLPOP", self.keys.wake(model), self.keys.wake_batch(model), wait_s)] if wait_s else []
        answer = await self._call(self._lease, model, *arguments, behind=wait, blocking_s=wait_s)
        rows, kept_free, letters, some_left = answer
        del self._unanswered[model, worker_id]
        tell_set_aside(model, letters)
        leases = Leases.parse_all(model, rows)
        leases.kept_free, leases.some_left = bool(kept_free), bool(some_left)
        if leases.unreadable:
            await self._reject_all(model, leases.unreadable)
        return leases

    def places_of_batches(self, capacity: int) -> int:
        """Of the sequences that an engine runs at once, those that jobs of batches may take up."""
        return max(1, int(capacity * self._settings.batch_share))

    async def _reject_all(self, model: str, jobs: Iterable[tuple[bytes, int]]) -> None:
        held = [part for job in jobs for part in job]
        with suppress(QueueUnavailable):  # otherwise their leases run out, and somebody gets them again
            tell_set_aside(model, await self._call(self._reject, model, *self._limits, *held))

    async def renew(self, model: str, leases: Iterable[Lease]) -> Lost:
        """Keep leases for another ``TESSERA_LEASE_S``. Returns the ids of those that are lost.

        One that has run out is kept too, as long as no other worker has taken its job.
        """
        lost = Lost()
        for some in in_batches(leases):
            held = [part for lease in some for part in (lease.job.id, lease.epoch)]
            gone, widths = await self._call(self._renew, model, self._lease_ms, self._reply_ttl_ms, *held)
            lost += [job_id.decode() for job_id in gone]
            lost.widths |= {job_id.decode(): width for job_id, width in zip(widths[::2], widths[1::2], strict=True)}
        return lost

    async def release(self, model: str, leases: Iterable[Lease], *, failed: bool) -> int:
        """Give jobs back before their leases run out.

        Args:
            failed: the engine failed under them, which counts like the worker's death.

        Returns:
            How many wait in the queue again; under the others too many workers died.
        """
        held = [part for lease in leases for part in (lease.job.id, lease.epoch)]
        how = "failed" if failed else "unused"
        requeued, letters = await self._call(self._release, model, *self._limits, how, *held)
        tell_set_aside(model, letters)
        return int(requeued)

    async def cancel(self, model: str, job_id: str) -> str | None:
        """Drop a job, waiting or running; its worker is told, and who reads it. Returns the state that it was in.

        One that is not known (None) will not be queued either: a call that nobody answered may still be on its way.
        """
        [state] = await self.cancel_all(model, [job_id])
        return state

    async def cancel_all(self, model: str, job_ids: Iterable[str]) -> list[str | None]:
        """Drop several jobs of a model, as ``cancel`` does."""
        states = await self._call(self._cancel, model, self._reply_ttl_ms, self.keys.worker(""), *job_ids)
        return [None if state is None else state.decode() for state in states]

    async def reap(self, model: str, *, gateway_id: str = "", stand_in: bool = False) -> Reaped:
        """Give back the jobs of silent workers, end those of silent gateways, answer those that waited too long.

        Nothing is reaped for the time of a lease after Redis was away, in which all are to be heard of again.

        Args:
            gateway_id: the gateway that asks: it keeps its own jobs by that, to be repeated every quarter of a lease.
            stand_in: do it only where nobody else has just done it.
        """
        limits = (*self._limits, REAPED_AT_ONCE, self._lease_ms)
        arguments = (*limits, gateway_id, int(stand_in), self.keys.worker(""))
        total = Reaped(0, 0, 0)
        while True:
            reaped, letters, next_ms, damaged = await self._call(self._reap, model, *arguments)
            tell_set_aside(model, letters)
            tell_damaged(self.keys.model(model), damaged)
            total = Reaped(*map(sum, zip(total, reaped, strict=True)))
            if max(reaped) < REAPED_AT_ONCE:
                total.next_s = math.inf if next_ms < 0 else next_ms / 1000
                return total

    async def queued_bytes(self, models: Iterable[str]) -> dict[str, int]:
        """What the bodies of each model's waiting and running jobs take."""
        names = list(models)
        async with reach(self._settings), self._redis.pipeline(transaction=False) as pipe:
            for model in names:
                pipe.hget(self.keys.bodies(model), self.keys.SUM)
            found = await pipe.execute(raise_on_error=False)
        return {model: number_of(sound(held)) for model, held in zip(names, found, strict=True)}

    async def census(self, model: str) -> Census:
        """What there is of a model's jobs."""
        async with reach(self._settings):
            return await take_census(self._redis, self.keys, model)
