"""What is written of a reply is told to every gateway that follows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgpack
import redis.asyncio as aioredis

from tessera.queue import Broker, End, Job, Lease
from tests.queue.corner import HEAD, MODEL, entries_of, lapse, overdue

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[list[Lease]]]
END = End().encode()


async def followers_of(broker: Broker, redis: aioredis.Redis, job: Job) -> list[bytes]:
    packed = await redis.hget(broker.keys.job(MODEL, job.id), "followers")
    return [] if packed is None else msgpack.unpackb(packed, raw=True)


async def heard(pubsub: aioredis.client.PubSub) -> tuple[bytes, int, list[bytes]]:
    message = await pubsub.get_message(timeout=5)
    job_id, offset, entries = msgpack.unpackb(message["data"], raw=True)
    return job_id, offset, entries


async def test_a_follower_hears_what_is_written_from_then_on(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    [lease] = await take()
    await broker.append(MODEL, [entries_of(lease, 0, HEAD)])
    async with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("one")
        await pubsub.get_message(timeout=5)
        for _ in range(2):
            await broker.follow(MODEL, job.id, "one")
        await broker.append(MODEL, [entries_of(lease, 1, b"d1")])
        assert await heard(pubsub) == (job.id.encode(), 1, [b"d1"])
        await broker.append(MODEL, [entries_of(lease, 2, END, final=True)])
        assert await heard(pubsub) == (job.id.encode(), 2, [END])
        assert await pubsub.get_message(timeout=0.01) is None


async def test_a_follower_hears_how_a_job_was_given_up(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    async with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("one")
        await pubsub.get_message(timeout=5)
        cancelled = await add()
        await broker.follow(MODEL, cancelled.id, "one")
        await broker.cancel(MODEL, cancelled.id)
        assert (await heard(pubsub))[0] == cancelled.id.encode()
        late = await add()
        await broker.follow(MODEL, late.id, "one")
        await overdue(redis_client, broker, late)
        await broker.reap(MODEL)
        assert (await heard(pubsub))[0] == late.id.encode()


async def test_a_follower_stays_one_when_the_worker_dies(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    await take()
    await broker.follow(MODEL, job.id, "one")
    await lapse(redis_client, broker)
    await broker.reap(MODEL)
    [lease] = await take(worker="another")
    assert await followers_of(broker, redis_client, job) == [b"one"]
    async with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("one")
        await pubsub.get_message(timeout=5)
        await broker.append(MODEL, [entries_of(lease, 0, HEAD)])
        assert await heard(pubsub) == (job.id.encode(), 0, [HEAD])


async def test_followers_are_bounded_in_number(broker: Broker, redis_client: aioredis.Redis, add: Add) -> None:
    job = await add()
    for n in range(40):
        await broker.follow(MODEL, job.id, f"c{n}")
    assert await followers_of(broker, redis_client, job) == [f"c{n}".encode() for n in range(24, 40)]


async def test_nothing_is_kept_of_followers_of_what_has_ended_or_never_was(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    [lease] = await take()
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, END, final=True)])
    await broker.follow(MODEL, job.id, "one")
    assert await followers_of(broker, redis_client, job) == []
    await broker.follow(MODEL, "unknown", "one")
    assert not await redis_client.exists(broker.keys.job(MODEL, "unknown"))
