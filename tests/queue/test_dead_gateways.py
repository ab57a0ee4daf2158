"""Jobs end with the gateway that took them, and with nobody's who is only unreachable for a while."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.errors import QueueUnavailable
from tessera.queue import Broker, End, Failure, Job, Lease, connect, new_job_id
from tessera.queue.entry import decode
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import FAR_MS, GATEWAY, HEAD, MODEL, depth_of, entries_of, lapse, log_of, state_of, with_other
from tests.queue.redis_process import RedisProcess

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[list[Lease]]]
DEAD = "dead"


async def enqueue(broker: Broker, gateway_id: str) -> Job:
    job = Job(new_job_id(), MODEL, "/", b"{}")
    await broker.enqueue(job, reply_to=gateway_id)
    return job


async def die(broker: Broker, redis: aioredis.Redis, *gateway_ids: str) -> None:
    await redis.delete(broker.keys.watch(MODEL))  # however long it took to get here: no outage
    for gateway_id in gateway_ids:
        await redis.zadd(broker.keys.gateways(MODEL), {gateway_id: 1}, xx=True)


async def test_the_jobs_of_a_dead_gateway_end_whether_they_wait_or_run(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    running, waiting, others = await enqueue(broker, DEAD), await enqueue(broker, DEAD), await add()
    [lease] = await take(1)
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")])
    async with redis_client.pubsub() as pubsub:
        await pubsub.subscribe(broker.keys.worker("w"))
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        await die(broker, redis_client, DEAD)
        assert await broker.reap(MODEL) == (0, 0, 2)
        assert (await pubsub.get_message(timeout=5))["data"] == running.id.encode()
    for job, begun in ((running, 2), (waiting, 0)):
        failure = (await log_of(broker, job))[begun]
        assert isinstance(failure, Failure)
        assert failure.code == "gateway_lost"
        assert await state_of(redis_client, broker, job) == "evicted"
    assert await broker.append(MODEL, [entries_of(lease, 2, b"d2")]) == [running.id]
    assert [lease.job for lease in await take()] == [others]
    assert await broker.reap(MODEL) == (0, 0, 0)
    assert await redis_client.zrange(broker.keys.gateways(MODEL), 0, -1) == [GATEWAY.encode()]


async def test_what_has_ended_does_not_end_again_with_its_gateway(
    broker: Broker, redis_client: aioredis.Redis, take: Take
) -> None:
    finished, cancelled = await enqueue(broker, DEAD), await enqueue(broker, DEAD)
    [lease] = await take(1)
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, End().encode(), final=True)])
    await broker.cancel(MODEL, cancelled.id)
    assert await redis_client.exists(broker.keys.jobs_of(MODEL, DEAD)) == 0
    await die(broker, redis_client, DEAD)
    assert await broker.reap(MODEL) == (0, 0, 0)
    assert await log_of(broker, finished) == [decode(HEAD), End()]


async def test_any_number_of_jobs_ends_at_once(broker: Broker, redis_client: aioredis.Redis) -> None:
    for gateway_id in ("a", "b"):
        for _ in range(150):
            await enqueue(broker, gateway_id)
    await die(broker, redis_client, "a", "b")
    assert await broker.reap(MODEL) == (0, 0, 300)
    assert await depth_of(broker, MODEL) == (0, 0)


@pytest.mark.parametrize("sign", ["it reaps", "it enqueues"])
async def test_a_gateway_that_is_heard_of_keeps_its_jobs(
    broker: Broker, redis_client: aioredis.Redis, sign: str
) -> None:
    await enqueue(broker, DEAD)
    await die(broker, redis_client, DEAD)
    if sign == "it reaps":
        assert await broker.reap(MODEL, gateway_id=DEAD) == (0, 0, 0)
    else:
        await enqueue(broker, DEAD)
    assert await broker.reap(MODEL) == (0, 0, 0)
    assert await redis_client.zscore(broker.keys.gateways(MODEL), DEAD) < FAR_MS


@pytest.mark.parametrize("watch", ["old", "damaged", "gone"])
async def test_a_worker_stands_in_where_no_gateway_has_looked_for_a_while(
    broker: Broker, redis_client: aioredis.Redis, take: Take, watch: str
) -> None:
    await enqueue(broker, DEAD)
    await enqueue(broker, DEAD)
    await take(1)
    await lapse(redis_client, broker)
    await die(broker, redis_client, DEAD)
    now, key = await now_ms(redis_client), broker.keys.watch(MODEL)
    await redis_client.set(key, now)
    patient = Broker(redis_client, with_other(broker._settings, lease_s=600))
    assert await patient.reap(MODEL, stand_in=True) == (0, 0, 0)
    if watch == "gone":
        await redis_client.delete(key)
    else:
        await redis_client.set(key, now - 200_000 if watch == "old" else "garbage")
    assert await patient.reap(MODEL, stand_in=True) == (1, 0, 2)
    assert (await broker.census(MODEL)).counts == {"reaped:requeued": 1, "reaped:orphaned": 2}


async def test_whoever_reaps_is_told_when_the_next_lease_runs_out(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    await add()
    assert (await broker.reap(MODEL)).next_s == math.inf
    leases = await take()
    assert 0 < (await broker.reap(MODEL)).next_s <= broker._settings.lease_s
    await lapse(redis_client, broker)
    assert (await broker.reap(MODEL)).next_s == math.inf
    assert await broker.renew(MODEL, leases) == []
    await redis_client.set(broker.keys.watch(MODEL), await now_ms(redis_client) - broker._lease_ms)
    assert (await broker.reap(MODEL)).next_s == broker._settings.lease_s, "nothing is done after an outage"


async def test_after_an_outage_everybody_gets_the_time_of_a_lease_to_be_heard_of(
    own_redis: RedisProcess, add: Add
) -> None:
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=0.3, lease_s=2.0)
    client = connect(settings, name="test")
    broker = Broker(client, settings)

    async def expired() -> bool:
        """All leases have run out, those of workers and of gateways."""
        return await client.zcount(broker.keys.leases(MODEL), "-inf", await now_ms(client)) == 1

    try:
        await add(to=broker)
        [lease] = await broker.lease(MODEL, "w", free=1, capacity=1, most=1)
        await enqueue(broker, DEAD)
        assert await broker.reap(MODEL) == (0, 0, 0)
        own_redis.pause()
        for _ in range(4):
            with pytest.raises(QueueUnavailable):
                await broker.reap(MODEL)
        own_redis.resume()  # and now hears of all four
        await eventually(expired, "the leases have run out")
        assert await depth_of(broker, MODEL) == (1, 1)
        assert await broker.reap(MODEL) == (0, 0, 0)
        assert await broker.renew(MODEL, [lease]) == []

        async def only_the_dead_is_reaped() -> bool:
            assert await broker.renew(MODEL, [lease]) == []
            reaped = await broker.reap(MODEL, gateway_id=GATEWAY)
            assert reaped in [(0, 0, 0), (0, 0, 1)]
            return reaped.orphaned == 1

        await eventually(only_the_dead_is_reaped, "whoever is not heard of is dead")
        assert await depth_of(broker, MODEL) == (0, 1)
    finally:
        await client.aclose()


async def now_ms(client: aioredis.Redis) -> int:
    seconds, micros = await client.time()
    return int(seconds) * 1000 + int(micros) // 1000
