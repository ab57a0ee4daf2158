"""Jobs of batches give way to people."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.errors import Overloaded, QueueBytesFull, WorkerLost
from tessera.queue import Broker, Job, Leases, new_job_id
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.bench import Bench
from tests.queue.corner import GATEWAY, MODEL, add_of_batch, lapse, overdue, state_of, with_other

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[Leases]]


def taken(leases: Leases) -> list[str]:
    return [lease.job.id for lease in leases]


async def test_people_come_first_whoever_came_first(broker: Broker, add: Add, take: Take) -> None:
    lines = [await add_of_batch(broker) for _ in range(2)]
    people = [await add() for _ in range(3)]
    leases = await take(4)
    assert taken(leases) == [job.id for job in (*people, lines[0])]
    assert [lease.job.batch for lease in leases] == [False, False, False, True]


async def test_a_batch_takes_nothing_while_somebody_waits(broker: Broker, add: Add, take: Take) -> None:
    await add_of_batch(broker)
    wide = await add(sequences=4)
    assert await take(3, capacity=4) == []
    await broker.cancel(MODEL, wide.id)
    assert len(await take(3, capacity=4)) == 1


async def test_batches_leave_a_part_of_each_worker_to_others(broker: Broker, add: Add) -> None:
    for _ in range(9):
        await add_of_batch(broker)
    first = await broker.lease(MODEL, "w", free=8, capacity=8, most=16)
    assert (len(first), first.some_left) == (4, True)
    more = await broker.lease(MODEL, "w", free=4, capacity=8, most=16, of_batches=4)
    assert (more, more.some_left) == ([], True)
    person = await add()
    assert taken(await broker.lease(MODEL, "w", free=4, capacity=8, most=16, of_batches=4)) == [person.id]
    other = await broker.lease(MODEL, "other", free=8, capacity=8, most=16)
    assert len(other) == 4


async def test_a_claim_takes_so_many_of_batches_and_leaves_the_rest(broker: Broker, add: Add) -> None:
    lines = [await add_of_batch(broker, sequences=width) for width in (3, 1, 1, 1)]
    person = await add()
    room = {"free": 16, "capacity": 16, "most": 16, "most_of_batches": 2}
    first = await broker.lease(MODEL, "w", **room)
    assert (taken(first), first.of_batches) == ([person.id, lines[0].id, lines[1].id], 2)
    assert first.some_left
    second = await broker.lease(MODEL, "w", **room, of_batches=4)
    assert (taken(second), second.some_left) == ([lines[2].id, lines[3].id], False)


async def test_a_share_of_one_is_all_of_it(redis_client: aioredis.Redis, settings: Settings, take: Take) -> None:
    broker = Broker(redis_client, with_other(settings, batch_share=1.0))
    for _ in range(4):
        await add_of_batch(broker)
    leases = await take(4, by=broker)
    assert (len(leases), leases.some_left) == (4, False)


async def test_a_wide_line_runs_in_what_batches_may_take(broker: Broker, take: Take) -> None:
    wide = await add_of_batch(broker, sequences=128)
    narrow = await add_of_batch(broker)
    [lease] = await take(8)
    assert (lease.job.id, lease.width) == (wide.id, 4)
    assert taken(await broker.lease(MODEL, "w", free=8, capacity=8, most=16)) == [narrow.id]


async def test_no_worker_is_kept_free_for_a_batch(redis_client: aioredis.Redis, settings: Settings, add: Add) -> None:
    broker = Broker(redis_client, with_other(settings, max_overtakings=0))
    wide, narrow = await add_of_batch(broker, sequences=4), await add_of_batch(broker)
    room = {"free": 6, "capacity": 8, "most": 16, "of_batches": 2}
    held_back = await broker.lease(MODEL, "w", **room)
    assert (held_back, held_back.kept_free, held_back.some_left) == ([], False, True), "it is not passed for ever"
    person = await add()
    assert taken(await broker.lease(MODEL, "w", **room)) == [person.id]
    assert taken(await broker.lease(MODEL, "w", free=8, capacity=8, most=1)) == [wide.id]
    assert taken(await broker.lease(MODEL, "w", **room)) == [narrow.id]


async def test_a_batch_fills_neither_the_queue_nor_its_bytes_for_people(
    redis_client: aioredis.Redis, settings: Settings, add: Add
) -> None:
    broker = Broker(redis_client, with_other(settings, max_queued_jobs=2, max_queued_bytes=100))
    for _ in range(2):
        await add_of_batch(broker, body=b"x" * 20)
    with pytest.raises(Overloaded):
        await add_of_batch(broker)
    people = [await add(to=broker) for _ in range(2)]
    with pytest.raises(Overloaded):
        await add(to=broker)
    for job in people:
        await broker.cancel(MODEL, job.id)
    large = Job(new_job_id(), MODEL, "/", b"x" * 60)
    await broker.enqueue(large, reply_to=GATEWAY)
    await broker.cancel(MODEL, large.id)
    await broker.lease(MODEL, "w", free=8, capacity=8, most=8)
    with pytest.raises(QueueBytesFull):
        await add_of_batch(broker, body=b"x" * 20)


async def test_what_is_given_back_keeps_its_place_in_its_class(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    first, second = [await add_of_batch(broker) for _ in range(2)]
    assert taken(await take(2)) == [first.id]
    await lapse(redis_client, broker)
    await broker.reap(MODEL)
    person = await add()
    assert taken(await take(4)) == [person.id, first.id, second.id]


async def test_places_are_right_after_the_count_of_them_was_lost(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    lines = [await add_of_batch(broker) for _ in range(3)]
    await redis_client.delete(f"{broker.keys.model(MODEL)}order")
    line, person = await add_of_batch(broker), await add()
    assert taken(await take(8)) == [job.id for job in (person, *lines, line)]


async def test_a_line_may_wait_for_the_window_of_its_batch(
    redis_client: aioredis.Redis, settings: Settings, add: Add
) -> None:
    broker = Broker(redis_client, with_other(settings, queue_timeout_s=60, batch_window_s=3600))
    person, lines = await add(to=broker), [await add_of_batch(broker) for _ in range(2)]
    for job, most_s in ((person, 60), (lines[0], 3600)):
        at = await redis_client.hmget(broker.keys.job(MODEL, job.id), "enqueued_ms", "deadline_ms")
        assert int(at[1]) - int(at[0]) == most_s * 1000
    await overdue(redis_client, broker, lines[0])
    assert (await broker.reap(MODEL)).evicted == 1
    assert [await state_of(redis_client, broker, job) for job in lines] == ["evicted", "queued"]


async def test_a_reader_waits_as_long_as_the_job_is_in_the_queue(there: Bench, impatient: None) -> None:
    job = Job(new_job_id(), MODEL, "/v1/completions", b"{}", batch=True)
    with there.hub.open(job) as stream:
        await there.broker.enqueue(job, reply_to="another", lasting=True)
        stream.enqueued = True
        long_ago = stream.last_entry - 10_000
        stream.last_entry, stream.last_heard = long_ago, -math.inf
        await eventually(lambda: stream.last_entry > long_ago, "it is found in the queue")
        await there.lease()
        stream.last_entry, stream.last_heard = long_ago, -math.inf
        with pytest.raises(WorkerLost):
            await stream.next()


async def test_the_census_tells_the_classes_apart(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    line = await add_of_batch(broker)
    await redis_client.hincrby(broker.keys.job(MODEL, line.id), "arrived_ms", -3_600_000)
    census = await broker.census(MODEL)
    assert (census.waiting, census.batch_waiting, census.oldest_s) == (0, 1, 0), "nobody waits for it"
    await add()
    census = await broker.census(MODEL)
    assert (census.waiting, census.batch_waiting, census.suspects) == (1, 1, 0)
    await take(4)
    census = await broker.census(MODEL)
    assert (census.waiting, census.batch_waiting, census.running) == (0, 0, 2)


async def test_a_suspect_of_a_batch_keeps_no_worker_free(
    redis_client: aioredis.Redis, settings: Settings, take: Take
) -> None:
    broker = Broker(redis_client, with_other(settings, max_attempts=2, max_overtakings=0))
    line = await add_of_batch(broker)
    await broker.release(MODEL, await take(4, by=broker), failed=True)
    held_back = await take(3, capacity=4, by=broker)
    assert (held_back, held_back.kept_free) == ([], False)
    assert taken(await take(4, by=broker)) == [line.id], "an idle one takes it"
