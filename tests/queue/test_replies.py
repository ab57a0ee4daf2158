from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgpack
import pytest

from tessera.errors import GatewayStopping, QueueUnavailable, ReplyLost, WorkerLost
from tessera.queue import (
    Append,
    Data,
    End,
    Head,
    ReplyStream,
    replies,
)
from tessera.queue import stream as stream_module
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.bench import END, GATEWAY, Bench, bench, heard, job, whole
from tests.queue.corner import HEAD, MODEL, with_other
from tests.queue.redis_process import RedisProcess


async def test_a_reply_arrives_in_order(there: Bench) -> None:
    with there.hub.open(job()) as stream:
        assert there.hub.open_streams == 1
        await there.enqueue(stream)
        [lease] = await there.lease()
        await there.say(lease, 0, HEAD, b"da")
        assert await stream.next() == [Head(200, "text/event-stream"), Data(b"a")]
        await there.say(lease, 2, b"db")
        await there.say(lease, 3, END, final=True)
        assert await whole(stream) == [Data(b"b"), End({"total_tokens": 1})]
    assert there.hub.open_streams == 0


async def test_many_streams_at_once_each_get_their_own(there: Bench) -> None:
    async def read(stream: ReplyStream) -> bytes:
        return b"".join(e.body for e in await whole(stream) if isinstance(e, Data))

    count, pieces = 100, 5
    async with AsyncExitStack() as stack:
        streams = [stack.enter_context(there.hub.open(job())) for _ in range(count)]
        readers = [asyncio.create_task(read(stream)) for stream in streams]
        for stream in streams:
            await there.enqueue(stream)
        leases = await there.lease(count)
        for n in range(pieces):
            head = [HEAD] if n == 0 else []
            appends = [
                Append(a.job.id, a.epoch, n + bool(n), [*head, f"d{a.job.id}/{n} ".encode()], False) for a in leases
            ]
            assert await there.broker.append(MODEL, appends) == []
        await there.broker.append(MODEL, [Append(a.job.id, a.epoch, pieces + 1, [END], True) for a in leases])
        answers = await asyncio.gather(*readers)
    for stream, answer in zip(streams, answers, strict=True):
        assert answer == b"".join(f"{stream.job.id}/{n} ".encode() for n in range(pieces))


async def test_messages_that_are_lost_are_read_from_the_log(there: Bench, impatient: None) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await there.unheard(lease, 0, HEAD, b"da")
        await heard(stream, 2)
        await there.unheard(lease, 2, b"db")
        await there.say(lease, 3, b"dc")  # leaves a gap
        await there.say(lease, 4, END, final=True)
        expected = [Head(200, "text/event-stream"), Data(b"a"), Data(b"b"), Data(b"c"), End({"total_tokens": 1})]
        assert await whole(stream) == expected


async def test_a_reply_that_began_ends_with_its_record(there: Bench, impatient: None) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await there.say(lease, 0, HEAD)
        await there.client.delete(there.broker.keys.job(MODEL, stream.job.id))
        with pytest.raises(ReplyLost):
            await whole(stream)


async def test_a_subscription_that_is_cut_continues_without_gap_or_double(there: Bench) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        reading = asyncio.create_task(whole(stream))
        await there.say(lease, 0, HEAD)
        for n in range(60):
            if n % 10 == 5:
                await there.client.client_kill_filter(_type="pubsub")
            await there.say(lease, n + 1, f"d{n}".encode())
        await there.say(lease, 61, END, final=True)
        data = [e.body for e in await reading if isinstance(e, Data)]
        assert data == [str(n).encode() for n in range(60)]


async def test_what_was_said_before_the_subscription_is_read_from_the_log(settings: Settings) -> None:
    async with bench(settings) as made:
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            [lease] = await made.lease()
            await made.say(lease, 0, HEAD, b"da", END, final=True)
            assert len(await whole(stream)) == 3


async def test_an_entry_that_cannot_be_read_ends_only_its_own_stream(there: Bench) -> None:
    with there.hub.open(job()) as bad, there.hub.open(job()) as good:
        await there.enqueue(bad)
        await there.enqueue(good)
        first, second = await there.lease(2)
        await there.say(first, 0, HEAD, b"?from another version")
        await there.say(second, 0, HEAD, END, final=True)
        with pytest.raises(ReplyLost):
            await whole(bad)
        assert len(await whole(good)) == 2


async def test_a_message_that_makes_no_sense_does_not_stop_the_hub(there: Bench) -> None:
    for nonsense in (b"", b"\xc1", msgpack.packb(7), msgpack.packb(["a"])):
        await there.client.publish(there.broker.keys.gateway(GATEWAY), nonsense)
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await there.say(lease, 0, HEAD, END, final=True)
        assert len(await whole(stream)) == 2
    assert not there.running.done()


async def test_a_record_that_is_gone_is_told(there: Bench, impatient: None) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        await there.client.delete(there.broker.keys.job(MODEL, stream.job.id))
        with pytest.raises(ReplyLost):
            await asyncio.wait_for(stream.next(), 10)


async def test_a_stream_that_is_not_enqueued_yet_is_not_missed(there: Bench, impatient: None) -> None:
    with there.hub.open(job()) as early, there.hub.open(job()) as gone:
        await there.enqueue(gone)
        await there.client.delete(there.broker.keys.job(MODEL, gone.job.id))
        with pytest.raises(ReplyLost):
            await asyncio.wait_for(gone.next(), 10)
        await there.enqueue(early)
        [lease] = await there.lease()
        await there.say(lease, 0, HEAD, END, final=True)
        assert len(await whole(early)) == 2


@pytest.mark.parametrize("loss", ["all", "the last entries", "replaced by another delivery"])
async def test_a_log_that_went_back_is_told_after_what_has_come(there: Bench, impatient: None, loss: str) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await there.say(lease, 0, HEAD, b"da", b"db")
        await heard(stream, 3)
        log = there.broker.keys.log(MODEL, stream.job.id)
        if loss == "the last entries":
            await there.client.ltrim(log, 0, 0)
        else:
            await there.client.delete(log)
        if loss == "replaced by another delivery":
            other = [Head(200, "text/event-stream", 7, 2).encode(), b"dA", b"db", b"dC"]
            await there.client.rpush(log, *other)
        assert len(await stream.next()) == 3
        with pytest.raises(ReplyLost):
            await asyncio.wait_for(stream.next(), 10)


async def test_a_silent_worker_is_given_up(settings: Settings, impatient: None) -> None:
    async with bench(with_other(settings, reply_timeout_s=0.2, queue_timeout_s=60.0)) as made:
        with made.hub.open(job()) as waiting, made.hub.open(job()) as running:
            await made.enqueue(running)
            await made.enqueue(waiting)
            [lease] = await made.lease()
            await made.say(lease, 0, HEAD)
            assert await asyncio.wait_for(running.next(), 10) == [Head(200, "text/event-stream")]
            with pytest.raises(WorkerLost):
                await asyncio.wait_for(running.next(), 10)
            # A job that has not begun may still wait in the queue.
            reading = asyncio.create_task(waiting.next())
            [lease] = await made.lease()
            await made.say(lease, 0, HEAD)
            assert await asyncio.wait_for(reading, 10) == [Head(200, "text/event-stream")]


async def test_a_restart_of_redis_in_the_middle_is_survived(own_redis: RedisProcess) -> None:
    async with bench(Settings(redis_url=own_redis.url, redis_timeout_s=2.0)) as made:
        await made.listening()
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            [lease] = await made.lease()
            await made.say(lease, 0, HEAD, b"da")
            await heard(stream, 2)
            own_redis.kill()
            own_redis.start()
            await made.say(lease, 2, b"db")
            await made.say(lease, 3, END, final=True)
            assert [type(e) for e in await whole(stream)] == [Head, Data, Data, End]


async def test_an_outage_that_is_too_long_ends_the_streams(own_redis: RedisProcess, impatient: None) -> None:
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=2.0, redis_outage_s=0.5)
    async with bench(settings) as made:
        await made.listening()
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            own_redis.kill()
            with pytest.raises(QueueUnavailable):
                await asyncio.wait_for(stream.next(), 20)


async def test_an_outage_counts_from_its_beginning(
    settings: Settings, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the last time that a log had to be looked at, which may be hours ago where all goes well."""
    async with bench(with_other(settings, redis_outage_s=30.0)) as made:
        await made.listening()
        now = replies.time.monotonic()
        _later(monkeypatch, _Clock(lambda: now + 3600))
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            read, failures = made.broker.read, 0

            async def fail(places: Any) -> Any:
                nonlocal failures
                failures += 1
                raise QueueUnavailable("down")

            monkeypatch.setattr(made.broker, "read", fail)
            stream.last_heard = 0.0
            await eventually(lambda: failures >= 2, "the log was asked for in vain")
            monkeypatch.setattr(made.broker, "read", read)
            [lease] = await made.lease()
            await made.unheard(lease, 0, HEAD, END, final=True)
            assert len(await whole(stream)) == 2


async def test_an_outage_counts_from_the_first_call_that_was_not_answered(
    settings: Settings, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from when it was given up, which is later by the time limit of a call."""
    later_s = 0.0
    real = replies.time.monotonic
    _later(monkeypatch, _Clock(lambda: real() + later_s))
    async with bench(with_other(settings, redis_outage_s=30.0)) as made:
        await made.listening()
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            asked = 0

            async def hang(places: Any) -> Any:
                nonlocal asked, later_s
                asked += 1
                later_s += 20.0
                raise QueueUnavailable("down")

            monkeypatch.setattr(made.broker, "read", hang)
            with pytest.raises(QueueUnavailable):
                await asyncio.wait_for(stream.next(), 10)
            assert asked == 2


async def test_an_error_that_nobody_thought_of_does_not_stop_the_sweep(
    there: Bench, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., Awaitable[Any]] = there.broker.read
    failures = 0

    async def fail_once(places: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise RuntimeError("never seen before")
        return await read(places)

    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        monkeypatch.setattr(there.broker, "read", fail_once)
        [lease] = await there.lease()
        await there.unheard(lease, 0, HEAD, END, final=True)
        assert len(await whole(stream)) == 2
        assert failures >= 2


async def test_all_streams_end_and_later_ones_too_when_the_gateway_stops(there: Bench) -> None:
    with there.hub.open(job()) as begun, there.hub.open(job()) as waiting:
        begun.feed(0, [HEAD])
        there.hub.end_all(GatewayStopping("The gateway has stopped."))
        assert await begun.next() == [Head(200, "text/event-stream")]
        with there.hub.open(job()) as late:
            for stream in (begun, waiting, late):
                with pytest.raises(GatewayStopping):
                    await stream.next()


class _Clock:
    def __init__(self, monotonic: Callable[[], float]):
        self.monotonic = monotonic


def _later(monkeypatch: pytest.MonkeyPatch, clock: _Clock) -> None:
    for module in (replies, stream_module):
        monkeypatch.setattr(module, "time", clock)
