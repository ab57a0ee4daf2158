"""A client that reads slowly, or not at all, costs the gateway a bounded number of bytes and loses nothing."""

from __future__ import annotations

import asyncio
import math
from contextlib import ExitStack
from typing import Any

import pytest

from tessera.errors import QueueUnavailable, TesseraError
from tessera.queue import Append, Broker, Data, Entry, Head, Lease, Place, ReplyStream, connect
from tessera.queue.stream import MOST_UNREAD_BYTES
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.bench import END, GATEWAY, Bench, bench, job, whole
from tests.queue.corner import HEAD, MODEL, entries_of, with_other
from tests.queue.redis_process import RedisProcess

PIECE = 1000
# Several times what is kept, for entries of every size.
MANY = 2000


async def never(stream: ReplyStream) -> None:
    raise AssertionError("it is not behind")


def entry(n: int, size: int = PIECE) -> bytes:
    return b"d" + str(n).encode().zfill(size)


async def write_all(made: Bench, lease: Lease, size: int = PIECE, count: int = MANY) -> None:
    for start in range(0, count, 100):
        head = [] if start else [HEAD]
        entries = [entry(n, size) for n in range(start, min(start + 100, count))]
        await made.say(lease, start + (start > 0), *head, *entries)
    await made.say(lease, count + 1, END, final=True)


async def known_to_be_whole(stream: ReplyStream, count: int = MANY) -> None:
    await eventually(lambda: stream.length == count + 2, "it knows of all entries", within_s=30)


def numbers(entries: list[Any]) -> list[int]:
    return [int(e.body.lstrip(b"0") or b"0") for e in entries if isinstance(e, Data)]


@pytest.mark.parametrize("size", [10, PIECE])
async def test_what_nobody_takes_stays_in_the_log_and_comes_from_there(there: Bench, size: int) -> None:
    count = MANY * PIECE // size // 4 if size < PIECE else MANY
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await write_all(there, lease, size, count)
        await known_to_be_whole(stream, count)
        assert stream.behind
        assert stream.room == 0
        kept = sum(size for _ in stream._entries)
        assert 0 < kept <= MOST_UNREAD_BYTES + PIECE
        first = await stream.next()
        assert len(first) < count
        rest = await whole(stream)
        assert numbers([*first, *rest]) == list(range(count))
        assert not stream.behind


async def test_what_is_larger_than_all_that_is_kept_is_taken_alone(there: Bench) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        large = [entry(n, 2 * MOST_UNREAD_BYTES) for n in range(3)]
        await there.say(lease, 0, HEAD, *large, END, final=True)
        assert numbers(await whole(stream)) == [0, 1, 2]


async def test_no_message_is_large_whatever_one_call_writes(there: Bench) -> None:
    pubsub = there.client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(there.broker.keys.gateway(GATEWAY))
    with ExitStack() as stack:
        streams = [stack.enter_context(there.hub.open(job())) for _ in range(4)]
        for stream in streams:
            await there.enqueue(stream)
        large = [HEAD, *(entry(n, 60_000) for n in range(20)), END]
        appends = [Append(lease.job.id, lease.epoch, 0, large, True) for lease in await there.lease(4)]
        assert await there.broker.append(MODEL, appends) == []
        for stream in streams:
            assert numbers(await whole(stream)) == list(range(20))
    heard: list[int] = []

    async def all_heard() -> bool:
        message = await pubsub.get_message()
        heard.extend([len(message["data"])] if message else [])
        return len(heard) == 4

    await eventually(all_heard, "a message for each of the jobs")
    await pubsub.aclose()  # type: ignore[no-untyped-call]
    assert max(heard) < 200_000


async def test_reading_on_waits_for_a_redis_that_is_away(
    there: Bench, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = there.broker.read
    failures = 0

    async def fail_at_first(places: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise QueueUnavailable("away")
        return await read(places)

    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await write_all(there, lease)
        await known_to_be_whole(stream)
        first = await stream.next()
        monkeypatch.setattr(there.broker, "read", fail_at_first)
        assert numbers([*first, *await whole(stream)]) == list(range(MANY))
        assert failures > 3


async def test_a_worker_that_has_ended_is_not_blamed_for_a_client_that_takes_nothing(
    settings: Settings, impatient: None
) -> None:
    async with bench(with_other(settings, reply_timeout_s=0.2)) as made:
        await made.listening()
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            [lease] = await made.lease()
            await write_all(made, lease)
            await known_to_be_whole(stream)
            stream.last_entry = -math.inf
            looked = 0

            def count(*_: object) -> bool:
                nonlocal looked
                looked += 1
                return False

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(made.hub, "_due", count)
                await eventually(lambda: looked > 2, "it was looked at")
            assert numbers(await whole(stream)) == list(range(MANY))


async def test_what_a_client_has_yet_to_read_does_not_expire(there: Bench, impatient: None) -> None:
    with there.hub.open(job()) as stream:
        await there.enqueue(stream)
        [lease] = await there.lease()
        await write_all(there, lease)
        await known_to_be_whole(stream)
        log = there.broker.keys.log(MODEL, stream.job.id)
        await there.client.expire(log, 20)
        stream.last_look = -math.inf

        async def kept() -> bool:
            return bool(await there.client.ttl(log) > 60)

        await eventually(kept, "its log lives on")
        assert numbers(await whole(stream)) == list(range(MANY))


async def test_a_log_is_read_in_pieces_of_bounded_size(broker: Broker, add: Any, take: Any) -> None:
    jobs = [await add(), await add()]
    for lease in await take():
        await broker.append(MODEL, [entries_of(lease, 0, HEAD, *(entry(n) for n in range(200)))])
    places = [Place(MODEL, jobs[0].id, 1, 10 * PIECE), Place(MODEL, jobs[1].id, 100, 1), Place(MODEL, jobs[0].id, 0, 0)]
    some, one, none = await broker.read(places)
    assert 5 < len(some.entries) <= 11
    assert some.entries == [entry(n) for n in range(len(some.entries))]
    assert one.entries == [entry(99)]
    assert none.entries == []
    assert {part.length for part in (some, one, none)} == {201}
    assert {part.first for part in (some, one, none)} == {HEAD}
    [nothing] = await broker.read([Place(MODEL, "unknown")])
    assert (nothing.entries, nothing.length, nothing.first, nothing.state) == ([], 0, None, None)


async def test_a_redis_that_takes_nothing_can_still_be_read(own_redis: RedisProcess, add: Any) -> None:
    settings = Settings(redis_url=own_redis.url)
    client = connect(settings, name="test")
    broker = Broker(client, settings)
    try:
        added = await add(to=broker)
        [lease] = await broker.lease(MODEL, "w", free=1, capacity=1, most=1)
        await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"da")])
        await client.expire(broker.keys.log(MODEL, added.id), 20)  # so that reading would make it live on
        await client.replicaof("127.0.0.1", 1)
        [part] = await broker.read([Place(MODEL, added.id)])
        assert part.entries == [HEAD, b"da"]
    finally:
        await client.aclose()


async def test_an_error_comes_after_what_has_arrived() -> None:
    stream = ReplyStream(job(), never)
    stream.feed(0, [HEAD])
    stream.fail(TesseraError("x"))
    assert await stream.next() == [Head(200, "text/event-stream")]
    for _ in range(2):
        with pytest.raises(TesseraError):
            await stream.next()


def test_entries_are_taken_once_and_without_gaps() -> None:
    stream = ReplyStream(job(), never)
    assert not stream.feed(1, [b"da"])
    assert stream.feed(0, [HEAD, b"da"])
    assert stream.feed(0, [HEAD, b"da", b"db"])
    assert stream.feed(1, [b"da"])
    assert stream.offset == 3
    assert not stream.feed(4, [b"dd"])


async def test_what_can_be_pushed_wakes_nobody_and_the_rest_follows_in_its_place() -> None:
    stream = ReplyStream(job(), never)
    pushed: list[tuple[int, Entry]] = []

    def push(at: int, entry: Entry) -> bool:
        taken = entry != Data(b"c")
        if taken:
            pushed.append((at, entry))
        return taken

    waiting = asyncio.create_task(stream.next(push))
    await asyncio.sleep(0)
    stream.feed(0, [b"da", b"db"])
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.feed(2, [b"dc", b"dd"])
    assert await waiting == [Data(b"c"), Data(b"d")], "nothing overtakes what could not be pushed"
    assert pushed == [(0, Data(b"a")), (1, Data(b"b"))]
    stream.feed(4, [b"de"])
    assert await stream.next(push) == [Data(b"e")], "nobody waited"
    assert (stream.offset, len(pushed)) == (5, 2)


async def test_an_error_of_who_takes_what_is_pushed_ends_that_stream_alone() -> None:
    stream = ReplyStream(job(), never)

    def push(at: int, entry: Entry) -> bool:
        raise ValueError("a bug")

    waiting = asyncio.create_task(stream.next(push))
    await asyncio.sleep(0)
    assert stream.feed(0, [b"da"])
    with pytest.raises(TesseraError, match="failed on this request"):
        await waiting
