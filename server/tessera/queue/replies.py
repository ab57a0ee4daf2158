"""How a gateway process receives replies: one subscription for all of its requests.

Messages on the channel are only the fast way. The log is the truth: whenever a message may have been missed (the
first subscription, a reconnection, a gap in the offsets, a long silence) the stream catches up from its log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
import redis.asyncio as aioredis

from tessera.errors import QueueUnavailable, ReplyLost, TesseraError, WorkerLost
from tessera.queue import channel, entry
from tessera.queue.broker import Broker
from tessera.queue.entry import Entry
from tessera.queue.job import Job
from tessera.settings import Settings

# A stream that is silent for this long looks into its log: pub/sub promises nothing.
CATCH_UP_AFTER_S = 2.0
SWEEP_EVERY_S = 0.5


class ReplyStream:
    """The reply of one job, in order and without gaps.

    Attributes:
        enqueued: set by whoever enqueued the job; from then on a missing record means a lost one.
        offset: entries received so far.
        last_heard: when the log was last known to hold nothing new, by ``time.monotonic``.
        last_entry: when the last entry came, or the stream was opened.
    """

    def __init__(self, job: Job):
        self.job = job
        self.enqueued = False
        self.offset = 0
        self.last_heard = self.last_entry = time.monotonic()
        self._entries: list[Entry] = []
        self._error: TesseraError | None = None
        self._changed = asyncio.Event()

    async def next(self) -> list[Entry]:
        """All entries that have arrived since the last call, at least one.

        Raises:
            ReplyLost: the job's record is gone from Redis.
        """
        await self._changed.wait()
        self._changed.clear()
        entries, self._entries = self._entries, []
        if self._error is not None and not entries:
            raise self._error
        if self._error is not None:
            self._changed.set()
        return entries

    def feed(self, offset: int, raw: list[bytes]) -> bool:
        """Take entries that stand at ``offset`` in the log. Returns False where there is a gap before them."""
        if offset > self.offset:
            return False
        fresh = raw[self.offset - offset :]
        if fresh:
            self.offset += len(fresh)
            self.last_heard = self.last_entry = time.monotonic()
            self._entries += [entry.decode(r) for r in fresh]
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
        self._last_reached = time.monotonic()

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
        try:
            yield stream
        finally:
            del self._streams[key]

    async def run(self) -> None:
        """Receive replies until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(channel.listen(self._redis, self._channel, self._receive, self._catch_up_all))
            tasks.create_task(self._sweep())

    def _receive(self, message: bytes) -> None:
        parts = msgpack.unpackb(message, raw=True)
        for job_id, offset, entries in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            stream = self._streams.get(job_id)
            if stream is not None and not stream.feed(offset, entries):
                stream.last_heard = 0.0  # a gap: the sweep catches up

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now = time.monotonic()
            for stream in [s for s in self._streams.values() if s.enqueued]:
                if now - stream.last_heard > CATCH_UP_AFTER_S:
                    await self._catch_up(stream)
                self._give_up_silent(stream, now)

    def _give_up_silent(self, stream: ReplyStream, now: float) -> None:
        # Before its first entry a job may wait in the queue, which evicts it by itself, and then for its prefill.
        limit_s = self._settings.reply_timeout_s + (0 if stream.offset else self._settings.queue_timeout_s)
        if now - stream.last_entry > limit_s:
            stream.fail(WorkerLost(f"The worker has sent nothing for {limit_s:.0f} seconds. Send the request again."))

    async def _catch_up_all(self) -> None:
        for stream in [s for s in self._streams.values() if s.enqueued]:
            await self._catch_up(stream)

    async def _catch_up(self, stream: ReplyStream) -> None:
        start = stream.offset
        try:
            entries, known = await self._broker.read(stream.job.model, stream.job.id, start)
        except QueueUnavailable as error:
            if time.monotonic() - self._last_reached > self._settings.redis_outage_s:
                stream.fail(error)
            return
        self._last_reached = stream.last_heard = time.monotonic()
        if entries:
            stream.feed(start, entries)
        elif not known and stream.offset == start:
            stream.fail(ReplyLost("The queue has lost this request (its Redis was emptied). Send it again."))
