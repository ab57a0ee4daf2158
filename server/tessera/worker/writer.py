"""Writes the replies of all running jobs, everything that one turn of the event loop brings in one script call.

A decode step of a batch of N jobs yields N chunks within microseconds; written one by one they would cost N round
trips, and each gateway N wake-ups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tessera.errors import QueueUnavailable
from tessera.queue import Append, Lease, ReplyLogs, Unwritten
from tessera.telemetry.outage import Outage
from tessera.worker.pending import Pending

log = structlog.get_logger()

RETRY_S = 0.25
# Where many answers stream at once, each in its own time, what comes within this goes together: a call costs more than
# what is in it. Less than anybody sees between two tokens; beginnings and ends of answers do not wait for it.
GATHER_S = 0.002
# Answers from which on it pays.
GATHER_FROM = 16


class ReplyWriter:
    """Reply logs of the jobs that one worker runs for one model.

    Args:
        on_lost: called with the ids of jobs that this worker no longer holds.
        outage: told when Redis cannot take what is written, and when it can again.
        high_water_bytes: unwritten bytes above which ``write`` waits.
    """

    def __init__(
        self,
        logs: ReplyLogs,
        model: str,
        on_lost: Callable[[list[str]], None],
        outage: Outage,
        *,
        high_water_bytes: int = 8 << 20,
    ):
        self._logs = logs
        self._model = model
        self._on_lost = on_lost
        self._outage = outage
        self._high_water = high_water_bytes
        self._open: dict[str, Pending] = {}
        self._changed: dict[str, Pending] = {}
        # Those for which Redis has no room now.
        self._held_back: dict[str, Pending] = {}
        self._holding = False
        self._retry: asyncio.TimerHandle | None = None
        self._bytes = 0
        self._flushed = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._last_call = 0.0

    def open(self, lease: Lease) -> None:
        """Begin the reply of a job, or go on with one that another worker began."""
        self._open[lease.job.id] = Pending(lease, lease.written)

    def discard(self, job_id: str) -> None:
        """Forget a job; what is not written yet is dropped."""
        self._open.pop(job_id, None)
        held_back, changed = self._held_back.pop(job_id, None), self._changed.pop(job_id, None)
        if (pending := changed or held_back) is not None:
            self._bytes -= _size(pending)
            self._flushed.set()

    async def write(self, job_id: str, *entries: bytes, final: bool = False, steps: bytes = b"") -> None:
        """Add entries to a job's log, soon, and the steps that led to them.

        Waits only while too much is unwritten, or Redis has no room for this job's reply.
        """
        pending = self._open.get(job_id)
        if pending is None:
            return
        begins = not pending.offset and not pending.entries
        self._bytes += pending.add(entries, steps)
        pending.final |= final
        self._changed[job_id] = pending
        self._begin_to_flush(at_once=begins or final)
        while self._must_wait(job_id):
            self._flushed.clear()
            await self._flushed.wait()

    async def drain(self) -> None:
        """Wait until everything is written."""
        self._begin_to_flush(at_once=True)
        while self._flusher is not None:
            await asyncio.shield(self._flusher)
            self._begin_to_flush(at_once=True)

    async def _flush(self) -> None:
        try:
            while self._changed:
                self._last_call = asyncio.get_running_loop().time()
                changed, self._changed = self._changed, {}
                for job_id in changed:
                    self._held_back.pop(job_id, None)
                appends = [pending.take() for pending in changed.values()]
                await self._append(appends)
                self._bytes -= sum(map(_size, appends))
                self._flushed.set()
                if self._gathers and not any(p.final or not p.offset for p in self._changed.values()):
                    break
        finally:
            self._flusher = None
        self._begin_to_flush()

    async def _append(self, appends: list[Append]) -> None:
        unwritten = await self._written(appends)
        lost, held_back = set(unwritten), set(unwritten.held_back)
        gone = []
        for a in appends:
            pending = self._open.get(a.job_id)
            if pending is None or pending.lease.epoch != a.epoch:
                continue
            # A repeated final append finds its job finished: not lost, only done.
            if a.final:
                del self._open[a.job_id]
            elif a.job_id in lost:
                gone.append(a.job_id)
            elif a.job_id in held_back:
                self._hold_back(pending, a)
        if gone:
            self._on_lost(gone)
        if self._holding != bool(self._held_back):
            self._holding = not self._holding
            event = "replies_held_back" if self._holding else "replies_go_on"
            log.warning(event, model=self._model, jobs=len(self._held_back))

    def _hold_back(self, pending: Pending, taken: Append) -> None:
        """Keep what found no room, and try again when others may have ended."""
        pending.put_back(taken)
        self._bytes += _size(taken)
        self._held_back[taken.job_id] = pending
        self._changed.pop(taken.job_id, None)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._changed |= self._held_back
        self._begin_to_flush()

    def _must_wait(self, job_id: str) -> bool:
        # What is held back waits for others, who must not wait for it.
        moving = self._bytes - sum(map(_size, self._held_back.values()))
        return job_id in self._held_back or moving > self._high_water

    @property
    def _gathers(self) -> bool:
        return len(self._open) >= GATHER_FROM

    def _begin_to_flush(self, *, at_once: bool = False) -> None:
        if self._flusher is not None or not self._changed:
            return
        loop = asyncio.get_running_loop()
        wait_s = self._last_call + GATHER_S - loop.time() if self._gathers and not at_once else 0.0
        if wait_s <= 0:
            self._stop_gathering()
            self._flusher = loop.create_task(self._flush())
        elif self._gathering is None:
            self._gathering = loop.call_later(wait_s, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._begin_to_flush(at_once=True)

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def _written(self, appends: list[Append]) -> Unwritten:
        while True:
            try:
                lost = await self._logs.append(self._model, appends)
            except QueueUnavailable as error:
                # Tokens wait here until Redis is back; `high_water_bytes` bounds them.
                self._outage.failed("append", error)
                await asyncio.sleep(RETRY_S)
            except Exception:
                # Nothing that another try would mend; the jobs' leases run out, which answers them.
                log.exception("replies_lost", jobs=len(appends))
                return Unwritten(a.job_id for a in appends)
            else:
                self._outage.works("append")
                return lost


def _size(written: Pending | Append) -> int:
    return sum(map(len, written.entries)) + len(written.steps)
