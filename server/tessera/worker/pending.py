"""What waits to be written of a reply, in the form in which it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tessera.queue import Append, Data, Lease
from tessera.worker.events import pieces

# Of a body, in one entry: a value in Redis, and a thing that its readers have whole.
MOST_ENTRY_BYTES = 64 * 1024
# Of one job's reply, before they count in Redis.
COUNTED_AT_ONCE_BYTES = 4096


@dataclass(slots=True)
class Pending:
    """What is not yet written of one job's reply."""

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
