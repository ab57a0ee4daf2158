from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tessera.queue import Broker, Job, Wakeup, connect, wakeup
from tessera.settings import Settings
from tests.queue.corner import MODEL, with_other

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


async def test_tokens_do_not_pile_up(broker: Broker, add: Add) -> None:
    for _ in range(5):
        await add()
        job = await add()
        await broker.cancel(MODEL, job.id)
    assert await broker._redis.llen(broker.keys.wake(MODEL)) <= 6
    await broker.lease(MODEL, "w", free=100, capacity=100, most=100)
    assert await broker._redis.llen(broker.keys.wake(MODEL)) == 0
