"""What a dead worker ran is shared out among the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker, Job, Leases
from tests.queue.corner import MODEL, entries_of, lapse

Add = Callable[..., Awaitable[Job]]


async def call(broker: Broker, worker: str, *, free: int = 100) -> Leases:
    return await broker.lease(MODEL, worker, free=free, capacity=100, most=16)


async def die(broker: Broker, redis: aioredis.Redis, how: str, leases: Leases) -> None:
    if how == "silent":
        await lapse(redis, broker)
        await broker.reap(MODEL)
    else:
        await broker.release(MODEL, leases, failed=how == "failed")


@pytest.mark.parametrize("how", ["silent", "failed", "drained"])
async def test_workers_take_them_in_turn(broker: Broker, redis_client: aioredis.Redis, add: Add, how: str) -> None:
    jobs = [await add() for _ in range(5)]
    taken = await call(broker, "dead")
    assert len(taken) == 5
    await broker.append(MODEL, [entries_of(lease, 0, b"said") for lease in taken])
    fresh = [await add(), await add()]
    await die(broker, redis_client, how, taken)
    shared = []
    for worker in "abcab":
        woken = await redis_client.lpop(broker.keys.wake(MODEL))
        assert woken is not None, "nobody would come for the next one"
        shared.append([lease.job for lease in await call(broker, worker)])
    # What nobody had yet does not have to wait for all of it.
    assert shared == [*([job] for job in jobs[:-1]), [jobs[-1], *fresh]]


async def test_of_many_each_takes_more(broker: Broker, redis_client: aioredis.Redis, add: Add) -> None:
    for _ in range(48):
        await add()
    taken = await broker.lease(MODEL, "dead", free=48, capacity=48, most=48)
    await broker.release(MODEL, taken, failed=True)
    assert [len(await call(broker, worker)) for worker in "abc"] == [3, 2, 2]


async def test_one_that_does_not_fit_is_passed_as_ever(broker: Broker, add: Add) -> None:
    wide, small, last = await add(sequences=3), await add(), await add()
    await broker.release(MODEL, await call(broker, "dead"), failed=True)
    assert [lease.job for lease in await call(broker, "a", free=2)] == [small]
    assert [lease.job for lease in await call(broker, "b", free=3)] == [wide]
    assert [lease.job for lease in await call(broker, "a", free=1)] == [last]
