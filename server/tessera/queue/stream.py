"""The reply of one job as a gateway receives it.

What a client has not taken is not all kept: beyond some bytes the stream leaves it in the log, and reads on there when
the client does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from tessera.errors import ReplyLost, TesseraError, unexpected
from tessera.queue.entry import Entry, decode
from tessera.queue.job import Named
from tessera.queue.log import ENTRY_COST_BYTES

log = structlog.get_logger()

Push = Callable[[int, Entry], bool]

# What a stream keeps of its reply until it is taken.
MOST_UNREAD_BYTES = 256 * 1024


class ReplyStream:
    """The reply of one job, in order and without gaps.

    Args:
        catch_up: reads what the log holds behind ``offset``, as much as there is room for, and feeds it.
        start: entries of the log that are not wanted.

    Attributes:
        enqueued: set by whoever enqueued the job; from then on a missing record means a lost one.
        offset: entries received so far, or not wanted.
        length: entries that the log is known to hold.
        first: the log's first entry, as stored.
        last: the last that was received, as stored.
        last_heard: when the log was last known to hold nothing new, by ``time.monotonic``.
        last_entry: when the last entry came, or the stream was opened.
        last_look: when the log was last read, or the stream was opened.
    """

    def __init__(self, job: Named, catch_up: Callable[[ReplyStream], Awaitable[None]], *, start: int = 0):
        self.job = job
        self.enqueued = False
        self.offset = start
        self.length = 0
        self.first: bytes | None = None
        self.last = b""
        self.last_heard = self.last_entry = self.last_look = time.monotonic()
        self._catch_up = catch_up
        self._entries: list[Entry] = []
        self._unread_bytes = 0
        self._error: TesseraError | None = None
        self._changed = asyncio.Event()
        self._push: Push | None = None

    @property
    def behind(self) -> bool:
        """Whether the log holds more than was received."""
        return self.offset < self.length

    @property
    def room(self) -> int:
        """Bytes that are kept beside those that wait to be taken."""
        return max(MOST_UNREAD_BYTES - self._unread_bytes, 0)

    async def next(self, push: Push | None = None) -> list[Entry]:
        """The entries that have arrived since the last call, at least one and about ``MOST_UNREAD_BYTES`` of them.

        Args:
            push: called with each entry that arrives while this waits, and its number; where it returns True, it has
                taken the entry, and this goes on to wait.

        Raises:
            ReplyLost: Redis has lost the job, or a part of its reply.
            RequestCancelled: the job was, before anything could be written of it.
            ReplyDropped: the job has ended, and its reply is no longer kept.
            WorkerLost: nothing has come for ``TESSERA_REPLY_TIMEOUT_S``.
            QueueUnavailable: Redis has been away for ``TESSERA_REDIS_OUTAGE_S``.
        """
        if self.behind and not self._changed.is_set():
            await self._catch_up(self)
        self._push = push
        try:
            await self._changed.wait()
        finally:
            self._push = None
        entries, self._entries, self._unread_bytes = self._entries, [], 0
        if self._error is None:
            self._changed.clear()
        elif not entries:
            raise self._error
        return entries

    def feed(self, offset: int, raw: list[bytes]) -> bool:
        """Take entries that stand at ``offset`` in the log, while there is room.

        Returns:
            Whether none is missing before them.
        """
        if offset + len(raw) > self.length:
            self.length = offset + len(raw)
            self.last_heard = self.last_entry = time.monotonic()
        if offset > self.offset:
            return False
        for entry in raw[self.offset - offset :]:
            if self._unread_bytes >= MOST_UNREAD_BYTES:
                break
            try:
                decoded = decode(entry)
            except ValueError:
                log.exception("reply_unreadable", job=self.job.id)
                self.fail(
                    ReplyLost(
                        "The answer cannot be read: its worker runs another version. Send it again.", retry_after_s=1
                    )
                )
                break
            at, self.last = self.offset, entry
            if not at:
                self.first = entry
            self.offset += 1
            if not self._pushed(at, decoded):
                self._entries.append(decoded)
                self._unread_bytes += len(entry) + ENTRY_COST_BYTES
                self._changed.set()
        return True

    def _pushed(self, at: int, entry: Entry) -> bool:
        if self._push is None or self._entries:
            return False
        try:
            return self._push(at, entry)
        except Exception:
            # Whoever called is about to feed others as well.
            log.exception("relay_failed", job=self.job.id)
            self.fail(unexpected())
            return True

    def fail(self, error: TesseraError) -> None:
        """End the stream with an error, after what has already arrived."""
        self._error = error
        self._changed.set()
