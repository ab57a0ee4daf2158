from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tessera.queue import Broker, Job, Wakeup, connect, wakeup
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import MODEL, add_of_batch, with_other

Add = Callable[..., Awaitable[Job]]


async def test_it_returns_when_a_job_is_queued(broker: Broker, settings: Settings, add: Add) -> None:
    client = connect(settings, name="waiting", blocking_s=2.0)
    woken = Wakeup(client, broker.keys, MODEL)
    await add()
    await asyncio.wait_for(woken.wait(asyncio.Event()), 5)
    await broker.lease(MODEL, "w", free=1, capacity=1, most=1)
    await client.aclose()


async def test_it_returns_without_work_and_outlasts_the_limit_of_a_command(
    broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "LONGEST_WAIT_S", 0.3)
    client = connect(with_other(settings, redis_timeout_s=0.1), name="waiting", blocking_s=2.0)
    await asyncio.wait_for(Wakeup(client, broker.keys, MODEL).wait(asyncio.Event()), 5)
    await client.aclose()


async def test_a_wait_that_was_given_up_takes_no_token_from_the_next(
    broker: Broker, settings: Settings, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "LONGEST_WAIT_S", 60.0)
    client = connect(settings, name="waiting", blocking_s=120.0)
    woken, ended = Wakeup(client, broker.keys, MODEL), asyncio.Event()
    waiting = asyncio.create_task(woken.wait(ended))
    await asyncio.sleep(0)
    ended.set()
    await asyncio.wait_for(waiting, 5)
    await add()
    await asyncio.wait_for(woken.wait(asyncio.Event()), 5)
    assert await broker._redis.llen(broker.keys.wake(MODEL)) == 0
    waiting = asyncio.create_task(woken.wait(ended))
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(woken.aclose(), 5)
    await client.aclose()


async def test_what_a_wait_hears_that_was_given_up_can_be_handed_on(
    broker: Broker, settings: Settings, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "LONGEST_WAIT_S", 60.0)
    client = connect(settings, name="waiting", blocking_s=120.0)
    woken, waits = Wakeup(client, broker.keys, MODEL), Broker(client, settings)
    assert not await woken.wait_for(0.01)
    claim = asyncio.create_task(waits.lease(MODEL, "w", free=1, capacity=1, most=1, wait_s=60.0))
    woken.hand_on()
    job = await add()
    [lease] = await asyncio.wait_for(claim, 5)
    assert lease.job.id == job.id
    assert await woken.wait_for(5.0), "it has heard of it as well"
    assert not await woken.wait_for(0.01)
    woken.hand_on()
    await broker._redis.rpush(broker.keys.wake(MODEL), "1")

    async def goes_by_itself() -> bool:
        return int(await broker._redis.pttl(broker.keys.wake(MODEL))) > 0

    await eventually(goes_by_itself, "where nobody else waits, it is kept for a while")
    await woken.aclose()
    await client.aclose()


@pytest.mark.parametrize("batch", [False, True])
async def test_only_jobs_of_people_wake_who_has_no_room_for_others(
    broker: Broker, settings: Settings, add: Add, batch: bool
) -> None:
    client = connect(settings, name="waiting", blocking_s=2.0)
    woken, waits = Wakeup(client, broker.keys, MODEL), Broker(client, settings)
    job = await (add_of_batch(broker) if batch else add())
    assert await woken.wait_for(0.2) is not batch
    await woken.aclose()
    # Who has room hears of both.
    if batch:
        [lease] = await waits.lease(MODEL, "w", free=2, capacity=2, most=1, wait_s=60.0)
        assert lease.job.id == job.id
    await client.aclose()


async def test_tokens_do_not_pile_up(broker: Broker, add: Add) -> None:
    for _ in range(5):
        await add()
        job = await add()
        await broker.cancel(MODEL, job.id)
    assert await broker._redis.llen(broker.keys.wake(MODEL)) <= 6
    await broker.lease(MODEL, "w", free=100, capacity=100, most=100)
    assert await broker._redis.llen(broker.keys.wake(MODEL)) == 0
