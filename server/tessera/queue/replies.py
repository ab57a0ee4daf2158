"""How a gateway process receives replies: one subscription for all of its requests.

Messages on the channel are only the fast way. The log is the truth: whenever a message may have been missed (the
first subscription, a reconnection, a gap in the offsets, a long silence) the stream catches up from its log.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgpack
import redis.asyncio as aioredis
import structlog

from tessera.errors import QueueUnavailable, ReplyLost, TesseraError, WorkerLost
from tessera.queue import channel, entry
from tessera.queue.broker import Broker
from tessera.queue.entry import Entry
from tessera.queue.job import Job
from tessera.settings import Settings

log = structlog.get_logger()

# A stream that is silent for this long looks into its log: pub/sub promises nothing.
CATCH_UP_AFTER_S = 2.0
SWEEP_EVERY_S = 0.5
# Logs that are read in one round trip.
CAUGHT_UP_AT_ONCE = 128


class ReplyStream:
    """The reply of one job, in order and without gaps.

    Attributes:
        enqueued: set by whoever enqueued the job; from then on a missing record means a lost one.
        offset: entries received so far.
        first: the first of them, as stored.
        last_heard: when the log was last known to hold nothing new, by ``time.monotonic``.
        last_entry: when the last entry came, or the stream was opened.
    """

    def __init__(self, job: Job):
        self.job = job
        self.enqueued = False
        self.offset = 0
        self.first: bytes | None = None
        self.last_heard = self.last_entry = time.monotonic()
        self._entries: list[Entry] = []
        self._error: TesseraError | None = None
        self._changed = asyncio.Event()

    async def next(self) -> list[Entry]:
        """All entries that have arrived since the last call, at least one.

        Raises:
            ReplyLost: Redis has lost the job, or a part of its reply.
            WorkerLost: nothing has come for ``TESSERA_REPLY_TIMEOUT_S``.
            QueueUnavailable: Redis has been away for ``TESSERA_REDIS_OUTAGE_S``.
        """
        await self._changed.wait()
        entries, self._entries = self._entries, []
        if self._error is None:
            self._changed.clear()
        elif not entries:
            raise self._error
        return entries

    def feed(self, offset: int, raw: list[bytes]) -> bool:
        """Take entries that stand at ``offset`` in the log. Returns False where there is a gap before them."""
        if offset > self.offset:
            return False
        fresh = raw[self.offset - offset :]
        if fresh:
            try:
                self._entries += [entry.decode(r) for r in fresh]
            except ValueError:
                log.exception("reply_unreadable", job=self.job.id)
                self.fail(ReplyLost("The answer cannot be read: its worker runs another version. Send it again."))
                return True
            if self.first is None:
                self.first = fresh[0]
            self.offset += len(fresh)
            self.last_heard = self.last_entry = time.monotonic()
            self._changed.set()
        return True

    def fail(self, error: TesseraError) -> None:
        """End the stream with an error, after what has already arrived."""
        self._error = error
        self._changed.set()


class ReplyHub:
    """All open reply streams of one gateway process.

    Args:
        redis: a client for the subscription alone.
        gateway_id: the ``reply_to`` of the jobs that this process enqueues.
    """

    def __init__(self, redis: aioredis.Redis, broker: Broker, settings: Settings, gateway_id: str):
        self._redis = redis
        self._broker = broker
        self._settings = settings
        self._channel = broker.keys.gateway(gateway_id)
        self._streams: dict[bytes, ReplyStream] = {}
        self._unreachable_since: float | None = None
        self._over: TesseraError | None = None

    @property
    def open_streams(self) -> int:
        """Requests that wait for, or are receiving, their reply."""
        return len(self._streams)

    @contextmanager
    def open(self, job: Job) -> Iterator[ReplyStream]:
        """The reply of a job; to be opened before the job is enqueued, so that nothing is missed."""
        stream = ReplyStream(job)
        key = job.id.encode()
        self._streams[key] = stream
        if self._over is not None:
            stream.fail(self._over)
        try:
            yield stream
        finally:
            del self._streams[key]

    def end_all(self, error: TesseraError) -> None:
        """End all streams with an error, and from now on each new one."""
        self._over = error
        for stream in self._streams.values():
            stream.fail(error)

    async def run(self) -> None:
        """Receive replies until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(channel.listen(self._redis, self._channel, self._receive, self._catch_up_all))
            tasks.create_task(self._sweep())

    def _receive(self, message: bytes) -> None:
        self._unreachable_since = None
        parts = msgpack.unpackb(message, raw=True)
        for job_id, offset, entries in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            stream = self._streams.get(job_id)
            if stream is not None and not stream.feed(offset, entries):
                stream.last_heard = -math.inf  # a gap: the sweep catches up

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now = time.monotonic()
            try:
                await self._catch_up([s for s in self._enqueued() if now - s.last_heard > CATCH_UP_AFTER_S])
            except QueueUnavailable as error:
                self._give_up_unreachable(error, now)
            except Exception:
                log.exception("reply_sweep_failed")
            for stream in self._enqueued():
                self._give_up_silent(stream, now)

    def _enqueued(self) -> list[ReplyStream]:
        return [s for s in self._streams.values() if s.enqueued]

    def _give_up_unreachable(self, error: QueueUnavailable, asked: float) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = asked  # it failed to answer since then, not only since that was noticed
        if time.monotonic() - self._unreachable_since > self._settings.redis_outage_s:
            for stream in self._enqueued():
                stream.fail(error)

    def _give_up_silent(self, stream: ReplyStream, now: float) -> None:
        # Before its first entry a job may wait in the queue, which evicts it by itself, and then for its prefill.
        limit_s = self._settings.reply_timeout_s + (0 if stream.offset else self._settings.queue_timeout_s)
        if now - stream.last_entry > limit_s:
            stream.fail(WorkerLost(f"The worker has sent nothing for {limit_s:.0f} seconds. Send the request again."))

    async def _catch_up_all(self) -> None:
        await self._catch_up(self._enqueued())

    async def _catch_up(self, streams: Sequence[ReplyStream]) -> None:
        for i in range(0, len(streams), CAUGHT_UP_AT_ONCE):
            batch = streams[i : i + CAUGHT_UP_AT_ONCE]
            # One entry more than is missing: that it is still there shows that the log has not gone back.
            places = [(s.job.model, s.job.id, max(s.offset - 1, 0)) for s in batch]
            seen = [s.first for s in batch]
            found = await self._broker.read(places)
            for stream, place, known_first, (entries, first, known) in zip(batch, places, seen, found, strict=True):
                stream.last_heard = time.monotonic()
                # A failover may have lost entries that the client has: what comes now would not continue them.
                gone_back = known_first is not None and (not entries or first != known_first)
                if gone_back or not (entries or known):
                    stream.fail(ReplyLost("The queue has lost this request (its Redis lost data). Send it again."))
                else:
                    stream.feed(place[2], entries)
        self._unreachable_since = None
