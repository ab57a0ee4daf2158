"""Writes the replies of all running jobs, everything that one turn of the event loop brings in one script call.

A decode step of a batch of N jobs yields N chunks within microseconds; written one by one they would cost N round
trips, and each gateway N wake-ups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from tessera.errors import QueueUnavailable
from tessera.queue import Append, Broker, Data, Lease
from tessera.telemetry.outage import Outage
from tessera.worker.events import pieces

log = structlog.get_logger()

RETRY_S = 0.25
# Of a body, in one entry: a value in Redis, and a thing that its readers have whole.
MOST_ENTRY_BYTES = 64 * 1024


@dataclass(slots=True)
class _Pending:
    lease: Lease
    offset: int = 0
    entries: list[bytes] = field(default_factory=list)
    steps: bytes = b""
    final: bool = False

    def add(self, raw: bytes) -> int:
        """Take an entry. Returns how many bytes there are more."""
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
        self._bytes = 0
        self._flushed = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None

    def open(self, lease: Lease) -> None:
        """Begin the reply of a job, or go on with one that another worker began."""
        self._open[lease.job.id] = _Pending(lease, lease.written)

    def discard(self, job_id: str) -> None:
        """Forget a job; what is not written yet is dropped."""
        self._open.pop(job_id, None)
        if (pending := self._changed.pop(job_id, None)) is not None:
            self._bytes -= sum(map(len, pending.entries)) + len(pending.steps)
            self._flushed.set()

    async def write(self, job_id: str, *entries: bytes, final: bool = False, steps: bytes = b"") -> None:
        """Add entries to a job's log, soon, and the steps that led to them; waits only while too much is unwritten."""
        pending = self._open.get(job_id)
        if pending is None:
            return
        for raw in entries:
            self._bytes += pending.add(raw)
        pending.final |= final
        if steps:
            pending.steps += steps
            self._bytes += len(steps)
        self._changed[job_id] = pending
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        while self._bytes > self._high_water:
            self._flushed.clear()
            await self._flushed.wait()

    async def drain(self) -> None:
        """Wait until everything is written."""
        while self._flusher is not None:
            await asyncio.shield(self._flusher)

    async def _flush(self) -> None:
        try:
            while self._changed:
                taken, self._changed = self._changed, {}
                appends = [
                    Append(job_id, p.lease.epoch, p.offset, p.entries, p.final, p.steps) for job_id, p in taken.items()
                ]
                for p in taken.values():
                    p.offset += len(p.entries)
                    p.entries, p.steps = [], b""
                await self._append(appends)
                self._bytes -= sum(sum(map(len, a.entries)) + len(a.steps) for a in appends)
                self._flushed.set()
        finally:
            self._flusher = None

    async def _append(self, appends: list[Append]) -> None:
        lost = set(await self._written(appends))
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
        if gone:
            self._on_lost(gone)

    async def _written(self, appends: list[Append]) -> list[str]:
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
                return [a.job_id for a in appends]
            else:
                self._outage.works("append")
                return lost
