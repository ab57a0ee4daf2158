"""Takes jobs off a model's queue as long as the engine has room for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import redis.asyncio as aioredis
import structlog

from tessera.errors import QueueUnavailable
from tessera.queue import REDIS_UNAVAILABLE, Broker, Lease, Leases, Wakeup
from tessera.queue.wakeup import LONGEST_WAIT_S
from tessera.telemetry.outage import Outage
from tessera.worker.seats import Seats

log = structlog.get_logger()

RETRY_S = 0.5
# Taken in one go; small, so that idle workers share a burst.
LEASED_AT_ONCE = 16
# Of jobs of batches: those that begin together make everybody's next token later, and the more of them, the later.
BATCHED_AT_ONCE = 2
# Until the next ones of them, and as a part of the time that one takes: those that take little must not wait for it.
LONGEST_PACE_S = 0.005
_PACES = 16


class Intake:
    """Of one worker.

    Args:
        redis: whose time limit allows to wait for jobs.
        seats: the room that it fills.
        lease_s: for how long a worker may be silent.
        prepare: awaited before each claim.
        begin: called with each lease.
        engine_dead: whether the engine can no longer answer: nothing more is taken then.

    Attributes:
        stopped: it takes no more.
    """

    def __init__(
        self,
        broker: Broker,
        redis: aioredis.Redis,
        model: str,
        worker_id: str,
        seats: Seats,
        *,
        lease_s: float,
        prepare: Callable[[], Awaitable[None]],
        begin: Callable[[Lease], None],
        engine_dead: Callable[[], bool],
        outage: Outage,
    ):
        self._broker = broker
        self._wakeup = Wakeup(redis, broker.keys, model)
        self._model = model
        self._worker_id = worker_id
        self._seats = seats
        # Of a worker that stands still, the claim that it left in Redis is over before its leases are: it must not be
        # given again what is taken from it.
        self._wait_s = min(LONGEST_WAIT_S, lease_s / 2)
        self._prepare = prepare
        self._begin = begin
        self._engine_dead = engine_dead
        self._outage = outage
        # When the next jobs of batches may be taken, by the monotonic clock.
        self._next_batched = 0.0
        # In the next claim.
        self._most_of_batches = BATCHED_AT_ONCE
        self._task: asyncio.Task[None] | None = None
        self.stopped = False

    async def run(self) -> None:
        """Take jobs until stopped, or until the engine is dead."""
        self._task = asyncio.current_task()
        try:
            waits = False
            while not (self.stopped or self._engine_dead()):
                waits = await self._safely(waits=waits)
        finally:
            await self._wakeup.aclose()

    def stop(self) -> None:
        """Take no more; ``run`` ends once it is known what has been given."""
        if self._task is not None and not self.stopped:
            self._task.cancel()
        self.stopped = True

    async def _safely(self, *, waits: bool) -> bool:
        try:
            waits = await self._turn(waits=waits)
            self._outage.works("lease")
        except (QueueUnavailable, *REDIS_UNAVAILABLE) as error:
            self._outage.failed("lease", error)
            await asyncio.sleep(RETRY_S)
        except Exception:
            log.exception("leasing_failed", retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
        else:
            return waits
        return False

    async def _turn(self, *, waits: bool) -> bool:
        """Take what there is room for. Returns whether the next turn is to wait for a job."""
        seats = self._seats
        # Whatever else this turn waits for: a job that this worker does not come for is for others to hear of.
        self._wakeup.hand_on()
        if seats.full:
            seats.changed.clear()
            await seats.changed.wait()
            return False
        taken = await self._take(waits=waits)
        if taken.kept_free:
            # Others are woken for what this worker must not take.
            await self._some_end()
        elif taken.some_left and taken.of_batches >= self._most_of_batches:
            await self._let_people_in(begun=taken.of_batches > 0)
        elif len(taken) < LEASED_AT_ONCE and not seats.full:
            if not taken.some_left:
                return True
            # There is no room yet for what is left, or it is for others to take.
            await self._wakeup.wait(seats.changed)
        return False

    async def _let_people_in(self, *, begun: bool) -> None:
        """Return when one of them may be there, or the next jobs of batches may begin: some time after those before."""
        seats, now = self._seats, time.monotonic()
        if begun:
            self._next_batched = now + min(LONGEST_PACE_S, seats.batch_s / _PACES)
        one_may = await self._wakeup.wait_for(max(0.0, self._next_batched - now))
        if not one_may and seats.full_of_batches:
            await self._wakeup.wait(seats.changed)
        self._most_of_batches = 0 if one_may and time.monotonic() < self._next_batched else BATCHED_AT_ONCE

    async def _some_end(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._seats.changed.wait()

    async def _take(self, *, waits: bool) -> Leases:
        """Take jobs; where it waits, together with the end of the wait: a trip less for the first token."""
        await self._prepare()
        self._seats.changed.clear()
        call = self._claim(LEASED_AT_ONCE, wait_s=self._wait_s if waits else 0.0)
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            # What was given by now is begun: nobody else gets these jobs before their leases run out.
            if waits and await _cancelled(call):
                call = self._claim(0)
            raise
        finally:
            leases = await call
            if leases and self._engine_dead():
                await self._broker.release(self._model, leases, failed=False)
            else:
                for lease in leases:
                    self._begin(lease)
        return leases

    def _claim(self, most: int, *, wait_s: float = 0.0) -> asyncio.Task[Leases]:
        room = {**self._seats.room(), "most": most, "most_of_batches": self._most_of_batches}
        return asyncio.create_task(self._broker.lease(self._model, self._worker_id, **room, wait_s=wait_s))


async def _cancelled(call: asyncio.Task[Leases]) -> bool:
    """Cancel a call. Returns whether it ends without a result."""
    call.cancel()
    await asyncio.wait([call])
    return call.cancelled()
