"""A job that does not fit neither holds up those behind it nor waits for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker, Job, Lease, Leases
from tessera.settings import Settings
from tests.queue.corner import MODEL, with_other

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[Leases]]
MOST = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_other(settings, max_overtakings=MOST, max_overtaking_s=1000)


async def run_down(broker: Broker, *leases: Lease) -> None:
    assert await broker.release(MODEL, leases, failed=False) == len(leases)
    for lease in leases:
        await broker.cancel(MODEL, lease.job.id)


async def test_small_jobs_pass_a_wide_one_up_to_a_number_and_then_it_runs(broker: Broker, add: Add, take: Take) -> None:
    [running] = [await add()] and await take(1, capacity=4)
    wide = await add(sequences=4)
    small = [await add() for _ in range(MOST + 1)]
    for job in small[:MOST]:
        passing = await take(3, capacity=4, most=1)
        assert [lease.job for lease in passing] == [job]
        await run_down(broker, *passing)
    for _ in range(2):
        held_back = await take(3, capacity=4)
        assert (held_back, held_back.kept_free) == ([], True)
    await run_down(broker, running)
    assert [lease.job for lease in await take(4)] == [wide]


async def test_a_wide_job_waits_no_longer_than_a_time_where_few_pass_it(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    wide = await add(sequences=4)
    assert not (await take(3, capacity=4)).kept_free
    await redis_client.hset(broker.keys.job(MODEL, wide.id), "front_ms", 1)
    await add()
    held_back = await take(3, capacity=4)
    assert (held_back, held_back.kept_free) == ([], True)


async def test_other_workers_go_on_passing_while_one_is_kept_free(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    broker = Broker(redis_client, with_other(broker._settings, max_overtakings=0))
    wide = await add(sequences=4)
    small = [await add() for _ in range(2)]
    assert (await take(3, capacity=4, worker="kept", by=broker)).kept_free
    others = await take(3, capacity=4, worker="other", by=broker)
    assert [lease.job for lease in others] == small
    assert not others.kept_free
    await add()
    assert await take(3, capacity=4, worker="kept", by=broker) == []
    assert [lease.job for lease in await take(4, worker="third", most=1, by=broker)] == [wide]
    freed = await take(3, capacity=4, worker="kept", by=broker)
    assert (len(freed), freed.kept_free) == (1, False)


@pytest.mark.parametrize("how", ["the job is cancelled", "the worker dies"])
async def test_nobody_is_kept_free_for_nothing(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, how: str
) -> None:
    broker = Broker(redis_client, with_other(broker._settings, max_overtakings=0))
    wide = await add(sequences=4)
    assert (await take(3, capacity=4, worker="kept", by=broker)).kept_free
    assert 0 < await redis_client.pttl(broker.keys.reserved(MODEL)) <= broker._lease_ms
    small = await add()
    if how == "the job is cancelled":
        await broker.cancel(MODEL, wide.id)
        assert [lease.job for lease in await take(3, capacity=4, worker="kept", by=broker)] == [small]
    else:
        await redis_client.delete(broker.keys.reserved(MODEL))  # as when it runs out
        assert (await take(3, capacity=4, worker="other", by=broker)).kept_free


async def test_wide_jobs_are_kept_free_for_one_after_the_other(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    wide = [await add(sequences=4) for _ in range(2)]
    for job in wide:
        for _ in range(MOST):
            await add()
            assert len(await take(3, capacity=4, most=1)) == 1
        assert (await take(3, capacity=4)).kept_free
        assert [lease.job for lease in await take(4, most=1)] == [job]


async def test_what_a_claim_costs_does_not_depend_on_how_many_wait(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    for sequences in (*[4] * 300, 1):
        await add(sequences=sequences)

    async def commands() -> int:
        stats = await redis_client.info("commandstats")
        return sum(entry["calls"] for entry in stats.values())

    before = await commands()
    assert await take(3, capacity=4, most=16) == [], "the last one is too far behind to be found"
    assert await commands() - before < 300
