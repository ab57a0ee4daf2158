"""What jobs take in Redis is counted, and has an end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.errors import QueueBytesFull
from tessera.queue import Broker, End, Job, Lease, new_job_id
from tessera.settings import Settings
from tests.queue.corner import GATEWAY, HEAD, MODEL, depth_of, entries_of, lapse, overdue, with_other

Take = Callable[..., Awaitable[list[Lease]]]


@pytest.fixture
async def small(broker: Broker, redis_client: aioredis.Redis, settings: Settings) -> Broker:
    """Has room for 100 bytes of bodies a model."""
    return Broker(redis_client, with_other(settings, max_queued_bytes=100, max_attempts=1))


async def enqueue(broker: Broker, size: int, *, model: str = MODEL) -> Job:
    job = Job(new_job_id(), model, "/", b"x" * size)
    await broker.enqueue(job, reply_to=GATEWAY)
    return job


async def queued_bytes(broker: Broker, model: str = MODEL) -> int:
    return (await broker.queued_bytes([model]))[model]


async def test_bodies_beyond_the_budget_are_refused_and_those_of_other_models_are_not(small: Broker) -> None:
    job = await enqueue(small, 60)
    await enqueue(small, 40)
    with pytest.raises(QueueBytesFull, match="100 bytes") as refused:
        await enqueue(small, 1)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 5)
    await small.enqueue(job, reply_to=GATEWAY)  # its first answer may have been lost
    assert await depth_of(small, MODEL) == (2, 0)
    await enqueue(small, 100, model="other")
    assert [await queued_bytes(small, model) for model in (MODEL, "other", "third")] == [100, 100, 0]


async def test_one_that_is_alone_is_taken_however_large(small: Broker) -> None:
    await enqueue(small, 500)
    with pytest.raises(QueueBytesFull):
        await enqueue(small, 1)


@pytest.mark.parametrize("end", ["finish", "cancel", "cancel running", "wait too long", "lose the worker"])
async def test_room_is_free_when_a_job_ends_however_it_ends(
    small: Broker, redis_client: aioredis.Redis, take: Take, end: str
) -> None:
    job = await enqueue(small, 100)
    if end == "cancel":
        await small.cancel(MODEL, job.id)
    elif end == "wait too long":
        await overdue(redis_client, small, job)
        await small.reap(MODEL)
    else:
        [lease] = await take()
        assert await queued_bytes(small) == 100
        if end == "finish":
            await small.append(MODEL, [entries_of(lease, 0, HEAD, End().encode(), final=True)])
        elif end == "cancel running":
            await small.cancel(MODEL, job.id)
        else:
            await lapse(redis_client, small)
            await small.reap(MODEL)
    assert await queued_bytes(small) == 0
    await enqueue(small, 100)


async def test_nothing_is_a_size_too(small: Broker) -> None:
    job = await enqueue(small, 0)
    await small.cancel(MODEL, job.id)
    assert await queued_bytes(small) == 0


async def test_a_job_that_is_given_back_holds_its_room(small: Broker, take: Take) -> None:
    await enqueue(small, 100)
    assert await small.release(MODEL, await take(), failed=False) == 1
    assert await queued_bytes(small) == 100


async def test_what_records_that_expired_held_is_found_free(
    small: Broker, redis_client: aioredis.Redis, take: Take
) -> None:
    jobs = [await enqueue(small, 10) for _ in range(10)]
    await take(3)
    for job in jobs[1:9]:
        await redis_client.delete(small.keys.job(MODEL, job.id))
    await lapse(redis_client, small)
    await small.reap(MODEL)  # ends the first, and forgets the others that ran
    assert [lease.job for lease in await take()] == [jobs[9]], "which forgets those that waited"
    await small.reap(MODEL)
    assert await queued_bytes(small) == 10


async def test_nothing_is_counted_for_ever(small: Broker, redis_client: aioredis.Redis) -> None:
    await enqueue(small, 100)
    queue_ms = await redis_client.pttl(small.keys.queue(MODEL))
    # Both are told how long within the same call, which may take a moment.
    assert 0 < await redis_client.pttl(small.keys.bodies(MODEL)) < queue_ms + 100
