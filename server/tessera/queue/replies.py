"""How a gateway process receives replies: one subscription for all of its requests.

Messages on the channel are only the fast way. The log is the truth: whenever a message may have been missed (the
first subscription, a reconnection, a gap in the offsets, a long silence) the stream catches up from its log.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import msgpack
import redis.asyncio as aioredis
import structlog

from tessera.errors import QueueUnavailable, ReplyDropped, ReplyLost, RequestCancelled, TesseraError, WorkerLost
from tessera.queue import channel
from tessera.queue.entry import is_last
from tessera.queue.job import Named
from tessera.queue.log import Place
from tessera.queue.record import ENDED
from tessera.queue.reply_logs import ReplyLogs
from tessera.queue.stream import ReplyStream
from tessera.settings import Settings

log = structlog.get_logger()

# A stream that is silent for this long looks into its log: pub/sub promises nothing.
CATCH_UP_AFTER_S = 2.0
SWEEP_EVERY_S = 0.5
# Logs that are read in one round trip.
CAUGHT_UP_AT_ONCE = 64


class ReplyHub:
    """All open reply streams of one gateway process.

    Args:
        redis: a client for the subscription alone.
        gateway_id: the ``reply_to`` of the jobs that this process enqueues.
    """

    def __init__(self, redis: aioredis.Redis, logs: ReplyLogs, settings: Settings, gateway_id: str):
        self._redis = redis
        self._logs = logs
        self._settings = settings
        self._channel = logs.keys.gateway(gateway_id)
        # Of one job there may be several: whoever picks it up reads it besides the client that sent it.
        self._streams: defaultdict[bytes, list[ReplyStream]] = defaultdict(list)
        self._unreachable_since: float | None = None
        self._over: TesseraError | None = None

    @property
    def open_streams(self) -> int:
        """Requests that wait for, or are receiving, their reply."""
        return sum(map(len, self._streams.values()))

    @contextmanager
    def open(self, job: Named, *, start: int = 0) -> Iterator[ReplyStream]:
        """The reply of a job, from an entry on.

        To be opened before the job is enqueued, so that nothing is missed; or before it is followed.
        """
        stream = ReplyStream(job, self._read_on, start=start)
        key = job.id.encode()
        streams = self._streams[key]
        streams.append(stream)
        if self._over is not None:
            stream.fail(self._over)
        try:
            yield stream
        finally:
            streams.remove(stream)
            if not streams:
                del self._streams[key]

    async def follow(self, stream: ReplyStream) -> None:
        """Receive the reply of a job that was enqueued before, be it by another gateway, and what there is of it.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        await self._logs.follow(stream.job.model, stream.job.id, self._channel)
        stream.enqueued = True
        await self._catch_up([stream])

    def end_all(self, error: TesseraError) -> None:
        """End all streams with an error, and from now on each new one."""
        self._over = error
        for stream in self._all():
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
            for stream in self._streams.get(job_id, ()):
                if not stream.feed(offset, entries):
                    stream.last_heard = -math.inf  # a gap: the sweep catches up

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now = time.monotonic()
            try:
                await self._catch_up([stream for stream in self._enqueued() if self._due(stream, now)])
            except QueueUnavailable as error:
                self._give_up_unreachable(error, now)
            except Exception:
                log.exception("reply_sweep_failed")
            for stream in self._enqueued():
                self._give_up_silent(stream, now)

    def _due(self, stream: ReplyStream, now: float) -> bool:
        if stream.room:
            return now - stream.last_heard > CATCH_UP_AFTER_S
        # Nothing more of it is taken; it is looked at so that it does not expire meanwhile.
        return now - stream.last_look > self._settings.reply_ttl_s / 4

    def _enqueued(self) -> list[ReplyStream]:
        return [s for s in self._all() if s.enqueued]

    def _all(self) -> Iterator[ReplyStream]:
        return chain.from_iterable(self._streams.values())

    def _give_up_unreachable(self, error: QueueUnavailable, asked: float) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = asked  # it failed to answer since then, not only since that was noticed
        if time.monotonic() - self._unreachable_since > self._settings.redis_outage_s:
            for stream in self._enqueued():
                stream.fail(error)

    def _give_up_silent(self, stream: ReplyStream, now: float) -> None:
        if stream.behind:
            return  # it is the client that has taken nothing
        # Before its first entry a job may wait in the queue, which evicts it by itself, and then for its prefill.
        limit_s = self._settings.reply_timeout_s + (0 if stream.offset else self._settings.queue_timeout_s)
        if now - stream.last_entry > limit_s:
            stream.fail(WorkerLost(f"The worker has sent nothing for {limit_s:.0f} seconds. Send the request again."))

    async def _catch_up_all(self) -> None:
        await self._catch_up(self._enqueued())

    async def _catch_up(self, streams: Sequence[ReplyStream]) -> None:
        for i in range(0, len(streams), CAUGHT_UP_AT_ONCE):
            batch = streams[i : i + CAUGHT_UP_AT_ONCE]
            places = [Place(s.job.model, s.job.id, s.offset, s.room) for s in batch]
            seen = [s.first for s in batch]
            found = await self._logs.read(places)
            for stream, place, known_first, part in zip(batch, places, seen, found, strict=True):
                stream.last_heard = stream.last_look = time.monotonic()
                # A failover may have lost entries that the client has: what comes now would not continue them.
                gone_back = known_first is not None and (part.length < place.offset or part.first != known_first)
                if part.state in ENDED and not part.length:
                    stream.fail(_without_end(part.state))
                    continue
                if gone_back or not (part.length or part.state):
                    stream.fail(
                        ReplyLost(
                            "The queue has lost this request (its Redis lost data). Send it again.", retry_after_s=1
                        )
                    )
                    continue
                if part.state == b"queued" and not stream.offset:
                    stream.last_entry = stream.last_heard  # it is the queue that says when it has waited for too long
                stream.first = part.first
                stream.feed(place.offset, part.entries)
                stream.length = max(stream.length, part.length)
                if part.state is None and not stream.behind and not is_last(stream.last):
                    # Its record is lost, and nobody can write to a reply without one.
                    stream.fail(ReplyLost("The queue has lost this request. Send it again.", retry_after_s=1))
                elif part.state in ENDED and not stream.behind and not is_last(stream.last):
                    stream.fail(_without_end(part.state))
        self._unreachable_since = None

    async def _read_on(self, stream: ReplyStream) -> None:
        try:
            await self._catch_up([stream])
        except QueueUnavailable:
            stream.last_heard = -math.inf  # the sweep goes on trying, and counts how long


def _without_end(state: bytes | None) -> TesseraError:
    """Why the log of a job that has ended holds no end."""
    if state == b"cancelled":
        return RequestCancelled("The request was cancelled.")
    return ReplyDropped("The request has ended, and its answer is no longer kept. Send it again.")
