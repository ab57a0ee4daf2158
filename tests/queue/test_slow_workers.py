"""Workers that are slow, or that Redis answers too late, are not dead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.errors import QueueUnavailable
from tessera.queue import Broker, Data, End, Failure, Job, Lease, connect
from tessera.queue.entry import decode
from tessera.settings import Settings
from tests.queue.corner import HEAD, MODEL, depth_of, entries_of, lapse, log_of
from tests.queue.redis_process import RedisProcess
from tests.queue.unreliable import UnreliableBroker

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[list[Lease]]]


@pytest.mark.parametrize("by", ["append", "renew"])
async def test_a_worker_that_was_only_slow_holds_what_nobody_has_taken(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, by: str
) -> None:
    job = await add()
    [lease] = await take(worker="slow")
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (1, 0, 0)
    if by == "append":
        assert await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")]) == []
    else:
        assert await broker.renew(MODEL, [lease]) == []
    assert await depth_of(broker, MODEL) == (0, 1)
    assert await take(worker="other") == []
    assert await broker.reap(MODEL) == (0, 0, 0)
    last = entries_of(lease, 0, HEAD, b"d1", End().encode(), final=True)
    assert await broker.append(MODEL, [last]) == []
    assert await log_of(broker, job) == [decode(HEAD), Data(b"1"), End()]


async def test_a_job_under_which_too_many_workers_died_is_given_up(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    job = await add()
    for death in range(1, settings.max_attempts + 1):
        [lease] = await take(worker=f"w{death}")
        assert lease.attempts == death
        await lapse(redis_client, broker)
        assert await broker.reap(MODEL) == ((1, 0, 0) if death < settings.max_attempts else (0, 1, 0))
    [failure] = await log_of(broker, job)
    assert isinstance(failure, Failure)
    assert failure.code == "poison_request"
    assert await take() == []


@pytest.mark.parametrize("sign", ["renew", "append"])
async def test_a_worker_that_is_heard_of_again_has_not_died_under_its_job(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take, sign: str
) -> None:
    job = await add()
    for turn in range(2 * settings.max_attempts):
        [lease] = await take(worker=f"slow {turn}")
        await lapse(redis_client, broker)
        assert await broker.reap(MODEL) == (1, 0, 0)
        others = await take(worker="other")
        if sign == "renew":
            assert await broker.renew(MODEL, [lease]) == [job.id]
        else:
            assert await broker.append(MODEL, [entries_of(lease, 0, HEAD)]) == [job.id]
        assert await broker.release(MODEL, others, failed=False) == 1
    assert len(await take()) == 1


async def test_what_a_lease_took_whose_answer_was_lost_comes_with_the_next(own_redis: RedisProcess, add: Add) -> None:
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=0.3)
    client = connect(settings, name="test")
    broker = Broker(client, settings)
    try:
        job = await add(to=broker)
        own_redis.pause()
        for _ in range(2):
            with pytest.raises(QueueUnavailable):
                await broker.lease(MODEL, "w", free=1, capacity=1, most=1)
        own_redis.resume()  # and now hears of all that was asked for meanwhile
        [lease] = await broker.lease(MODEL, "w", free=1, capacity=1, most=1)
        assert (lease.job, lease.attempts) == (job, 1)
        assert await broker.lease(MODEL, "w", free=1, capacity=1, most=1) == []
        assert await depth_of(broker, MODEL) == (0, 1)
    finally:
        await client.aclose()


@pytest.mark.parametrize("later", [[], ["a"], ["a", "b"]], ids=["none", "one", "two"])
async def test_a_claim_that_arrives_late_takes_nothing_that_its_worker_will_not_hear_of(
    redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take, later: list[str]
) -> None:
    broker = UnreliableBroker(redis_client, settings)
    broker.lost = "call"
    with pytest.raises(QueueUnavailable):
        await take(by=broker)
    delayed = broker.called
    assert await take(by=broker) == []
    for job_id in later:
        await add(job_id=job_id, to=broker)
        [lease] = await take(by=broker)
        assert lease.job.id == job_id
    await add(to=broker)
    assert await broker.deliver(delayed) == [[], 0, [], 1]
    assert await depth_of(broker, MODEL) == (1, len(later))


async def test_a_worker_that_gives_back_what_had_lapsed_holds_it_no_more_and_has_not_died(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    job = await add()
    for _ in range(settings.max_attempts + 1):
        [lease] = await take()
        await lapse(redis_client, broker)
        assert await broker.reap(MODEL) == (1, 0, 0)
        assert await broker.release(MODEL, [lease], failed=False) == 0  # it waits already
        assert await broker.append(MODEL, [entries_of(lease, 0, HEAD)]) == [job.id]
        assert await depth_of(broker, MODEL) == (1, 0)
