"""Writes the replies of all running jobs, everything that one turn of the event loop brings in one script call.

A decode step of a batch of N jobs yields N chunks within microseconds; written one by one they would cost N round
trips, and each gateway N wake-ups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from tessera.errors import QueueUnavailable
from tessera.queue import Append, Broker, Data, Lease, Unwritten
from tessera.telemetry.outage import Outage
from tessera.worker.events import pieces

log = structlog.get_logger()

RETRY_S = 0.25
# Of a body, in one entry: a value in Redis, and a thing that its readers have whole.
MOST_ENTRY_BYTES = 64 * 1024
# Of one job's reply, before they count in Redis.
COUNTED_AT_ONCE_BYTES = 4096


@dataclass(slots=True)
class _Pending:
    lease: Lease
    offset: int = 0
    entries: list[bytes] = field(default_factory=list)
    steps: bytes = b""
    final: bool = False
    # Bytes of the reply, and of steps, that do not count yet.
    log_bytes: int = 0
    steps_bytes: int = 0

    def take(self) -> Append:
        """What is to be written; from now on it counts as written."""
        counted = (0, 0)
        if self.final or self.log_bytes + self.steps_bytes >= COUNTED_AT_ONCE_BYTES:
            counted = (self.log_bytes, self.steps_bytes)
            self.log_bytes = self.steps_bytes = 0
        job_id, epoch = self.lease.job.id, self.lease.epoch
        taken = Append(job_id, epoch, self.offset, self.entries, self.final, self.steps, counted)
        self.offset += len(self.entries)
        self.entries, self.steps = [], b""
        return taken

    def put_back(self, taken: Append) -> None:
        """It was not written."""
        self.offset -= len(taken.entries)
        self.entries = [*taken.entries, *self.entries]
        self.steps = taken.steps + self.steps
        if taken.counted is not None:
            self.log_bytes += taken.counted[0]
            self.steps_bytes += taken.counted[1]

    def add(self, entries: Iterable[bytes], steps: bytes) -> int:
        """Take entries, and the steps that led to them. Returns how many bytes there are more."""
        added = sum(map(self._add, entries))
        self.steps += steps
        self.log_bytes += added
        self.steps_bytes += len(steps)
        return added + len(steps)

    def _add(self, raw: bytes) -> int:
        if raw[:1] != b"d":
            self.entries.append(raw)
        elif len(raw) > MOST_ENTRY_BYTES:
            # All of a take is one call, so that an event is written whole or not at all.
            cut = [Data.stored(piece) for piece in pieces(raw[1:], MOST_ENTRY_BYTES)]
            self.entries += cut
            return sum(map(len, cut))
        elif self.entries and self.entries[-1][:1] == b"d" and len(self.entries[-1]) + len(raw) <= MOST_ENTRY_BYTES:
            # Body bytes that arrive in the same turn travel as one entry.
            self.entries[-1] += raw[1:]
            return len(raw) - 1
        else:
            self.entries.append(raw)
        return len(raw)


class ReplyWriter:
    """Reply logs of the jobs that one worker runs for one model.

    Args:
        on_lost: called with the ids of jobs that this worker no longer holds.
        outage: told when Redis cannot take what is written, and when it can again.
        high_water_bytes: unwritten bytes above which ``write`` waits.
    """

    def __init__(
        self,
        broker: Broker,
        model: str,
        on_lost: Callable[[list[str]], None],
        outage: Outage,
        *,
        high_water_bytes: int = 8 << 20,
    ):
        self._broker = broker
        self._model = model
        self._on_lost = on_lost
        self._outage = outage
        self._high_water = high_water_bytes
        self._open: dict[str, _Pending] = {}
        self._changed: dict[str, _Pending] = {}
        # Those for which Redis has no room now.
        self._held_back: dict[str, _Pending] = {}
        self._holding = False
        self._retry: asyncio.TimerHandle | None = None
        self._bytes = 0
        self._flushed = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None

    def open(self, lease: Lease) -> None:
        """Begin the reply of a job, or go on with one that another worker began."""
        self._open[lease.job.id] = _Pending(lease, lease.written)

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
        self._bytes += pending.add(entries, steps)
        pending.final |= final
        self._changed[job_id] = pending
        self._begin_to_flush()
        while self._must_wait(job_id):
            self._flushed.clear()
            await self._flushed.wait()

    async def drain(self) -> None:
        """Wait until everything is written."""
        while self._flusher is not None:
            await asyncio.shield(self._flusher)

    async def _flush(self) -> None:
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                for job_id in changed:
                    self._held_back.pop(job_id, None)
                appends = [pending.take() for pending in changed.values()]
                await self._append(appends)
                self._bytes -= sum(map(_size, appends))
                self._flushed.set()
        finally:
            self._flusher = None

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

    def _hold_back(self, pending: _Pending, taken: Append) -> None:
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

    def _begin_to_flush(self) -> None:
        if self._flusher is None and self._changed:
            self._flusher = asyncio.create_task(self._flush())

    async def _written(self, appends: list[Append]) -> Unwritten:
        while True:
            try:
                lost = await self._broker.append(self._model, appends)
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


def _size(written: _Pending | Append) -> int:
    return sum(map(len, written.entries)) + len(written.steps)
