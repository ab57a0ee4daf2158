"""Replies have a budget: complete ones are dropped for others, and others wait. No token is lost by that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.errors import ReplyDropped
from tessera.queue import Append, Broker, End, Job, Lease, Place, new_job_id
from tessera.settings import Settings
from tests.queue.bench import bench, job
from tests.queue.corner import GATEWAY, HEAD, MODEL, depth_of, entries_of, log_of, with_other

Take = Callable[..., Awaitable[list[Lease]]]
END = End().encode()
BUDGET = 1000


@pytest.fixture
async def small(broker: Broker, redis_client: aioredis.Redis, settings: Settings) -> Broker:
    return Broker(redis_client, with_other(settings, max_reply_bytes=BUDGET))


async def begin(broker: Broker, take: Take) -> Lease:
    await broker.enqueue(Job(new_job_id(), MODEL, "/", b"{}"), reply_to=GATEWAY)
    [lease] = await take(1)
    return lease


async def say(broker: Broker, lease: Lease, offset: int, size: int, *, final: bool = False) -> list[str]:
    """Write one entry. Returns who was held back."""
    unwritten = await broker.append(MODEL, [entries_of(lease, offset, b"d" * size, final=final)])
    assert unwritten == []
    return list(unwritten.held_back)


async def reply_bytes(broker: Broker) -> int:
    return (await broker.census(MODEL)).reply_bytes


async def dropped(broker: Broker) -> int:
    return (await broker.census(MODEL)).counts.get("replies_dropped", 0)


async def has_log(broker: Broker, lease: Lease) -> bool:
    [part] = await broker.read([Place(MODEL, lease.job.id)])
    assert part.state, "the record stays"
    return part.length > 0


async def test_what_is_counted_is_what_is_there(small: Broker, take: Take) -> None:
    lease = await begin(small, take)
    written = Append(lease.job.id, lease.epoch, 0, [HEAD, b"dabc"], False, b"steps")
    for _ in range(2):  # its answer may be lost
        await small.append(MODEL, [written])
    assert await reply_bytes(small) == len(HEAD) + 4 + 5
    await small.append(MODEL, [Append(lease.job.id, lease.epoch, 2, [END], True)])
    assert await reply_bytes(small) == len(HEAD) + 4 + len(END), "the steps are no longer needed"


async def test_the_oldest_complete_replies_make_room(small: Broker, redis_client: aioredis.Redis, take: Take) -> None:
    old, new = await begin(small, take), await begin(small, take)
    await say(small, old, 0, 400, final=True)
    await say(small, new, 0, 400, final=True)
    await redis_client.zincrby(small.keys.ended(MODEL), 1, new.job.id)  # it may have been the same millisecond
    running = await begin(small, take)
    assert await say(small, running, 0, 300) == []
    assert [await has_log(small, lease) for lease in (old, new, running)] == [False, True, True]
    assert await say(small, running, 1, 700) == []
    assert [await has_log(small, lease) for lease in (old, new, running)] == [False, False, True]
    assert (await reply_bytes(small), await dropped(small)) == (1000, 2)


async def test_one_that_is_being_read_is_dropped_after_those_that_nobody_reads(
    small: Broker, redis_client: aioredis.Redis, take: Take
) -> None:
    read, unread = await begin(small, take), await begin(small, take)
    for lease in (read, unread):
        await say(small, lease, 0, 400, final=True)
        await redis_client.expire(small.keys.log(MODEL, lease.job.id), 20)
        await redis_client.zadd(small.keys.ended(MODEL), {lease.job.id: 1})
    assert await log_of(small, read.job)
    await say(small, await begin(small, take), 0, 400)
    assert [await has_log(small, lease) for lease in (read, unread)] == [True, False]


async def test_where_what_runs_takes_all_the_room_one_goes_on_and_the_others_wait_for_it(
    small: Broker, take: Take
) -> None:
    first, second, third = [await begin(small, take) for _ in range(3)]
    for lease in (first, second):
        assert await say(small, lease, 0, 500) == []
    for offset in (1, 2):
        assert await say(small, first, offset, 500) == []
        assert await say(small, second, 1, 10) == [second.job.id]
        assert await say(small, third, 0, 10) == [third.job.id]
    assert await reply_bytes(small) == 2000
    assert await say(small, first, 3, 10, final=True) == []
    assert await say(small, second, 1, 10) == []
    assert await say(small, third, 0, 10) == []
    assert [await has_log(small, lease) for lease in (first, second, third)] == [False, True, True]
    assert [len(entry.body) + 1 for entry in await log_of(small, second.job)] == [500, 10]  # type: ignore[union-attr]


async def test_others_are_written_by_the_call_that_holds_one_back(small: Broker, take: Take) -> None:
    first, second, third = [await begin(small, take) for _ in range(3)]
    await say(small, first, 0, 1000)
    appends = [
        entries_of(lease, at, b"d" * 10, final=lease is third) for lease, at in ((first, 1), (second, 0), (third, 0))
    ]
    unwritten = await small.append(MODEL, appends)
    assert (unwritten, unwritten.held_back) == ([], [second.job.id])
    assert await reply_bytes(small) == 1020


async def test_what_ends_a_job_is_always_written(small: Broker, take: Take) -> None:
    running, document = await begin(small, take), await begin(small, take)
    await say(small, running, 0, 900)
    assert await say(small, document, 0, 5000, final=True) == []
    assert await has_log(small, document)
    assert await depth_of(small, MODEL) == (0, 1)


async def test_another_goes_on_when_the_first_has_stopped(
    small: Broker, redis_client: aioredis.Redis, take: Take
) -> None:
    first, second = await begin(small, take), await begin(small, take)
    await say(small, first, 0, 1000)
    await say(small, first, 1, 10)
    assert await say(small, second, 0, 10) == [second.job.id]
    await redis_client.delete(f"{small.keys.model(MODEL)}first")  # it expires with a lease
    assert await say(small, second, 0, 10) == []
    assert await say(small, first, 2, 10) == [first.job.id]


async def test_replies_that_expired_are_found_free(small: Broker, redis_client: aioredis.Redis, take: Take) -> None:
    gone, read, vanished = [await begin(small, take) for _ in range(3)]
    for lease in (gone, read):
        await say(small, lease, 0, 100, final=True)
        await redis_client.zadd(small.keys.ended(MODEL), {lease.job.id: 1})
    await say(small, vanished, 0, 100)
    await redis_client.delete(small.keys.log(MODEL, gone.job.id))
    await redis_client.zrem(small.keys.leases(MODEL), vanished.job.id)
    await redis_client.delete(small.keys.job(MODEL, vanished.job.id))
    await small.reap(MODEL)
    assert await reply_bytes(small) == 100
    [(name, score)] = await redis_client.zrange(small.keys.ended(MODEL), 0, -1, withscores=True)
    assert (name, score > 1) == (read.job.id.encode(), True), "it lives for as long as somebody reads it"


async def test_nothing_is_counted_for_ever(small: Broker, redis_client: aioredis.Redis, take: Take) -> None:
    lease = await begin(small, take)
    for final in (False, True):
        await say(small, lease, int(final), 10, final=final)
        for key in (small.keys.replies(MODEL), *([small.keys.ended(MODEL)] if final else [])):
            assert await redis_client.ttl(key) > 60


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_client_hears_that_its_answer_was_dropped(settings: Settings, impatient: None, taken: int) -> None:
    async with bench(settings) as made:
        await made.listening()
        with made.hub.open(job()) as stream:
            await made.enqueue(stream)
            [lease] = await made.lease()
            if taken:
                await made.say(lease, 0, HEAD)
                await stream.next()
            await made.unheard(lease, taken, END, final=True)
            await made.client.delete(made.broker.keys.log(MODEL, stream.job.id))
            with pytest.raises(ReplyDropped):
                await stream.next()
