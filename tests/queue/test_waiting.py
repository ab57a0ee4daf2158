"""A claim that waits for a job, and takes it in the same trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
import redis.asyncio as aioredis

from tessera.errors import QueueUnavailable
from tessera.queue import Broker, Job, Leases, connect
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import MODEL, depth_of, with_other
from tests.queue.unreliable import UnreliableBroker

Add = Callable[..., Awaitable[Job]]
# Longer than any of these tests takes.
LONG_S = 60.0


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[aioredis.Redis]:
    """A client that may wait."""
    made = connect(settings, name="waits", blocking_s=2 * LONG_S)
    yield made
    await made.aclose()


@pytest.fixture
def waiter(client: aioredis.Redis, settings: Settings) -> UnreliableBroker:
    return UnreliableBroker(client, settings)


def claim(broker: Broker, *, most: int = 4, wait_s: float = LONG_S) -> asyncio.Task[Leases]:
    return asyncio.create_task(broker.lease(MODEL, "w", free=4, capacity=4, most=most, wait_s=wait_s))


def ids(leases: Leases) -> list[str]:
    return [lease.job.id for lease in leases]


@pytest.fixture
def waits(redis_client: aioredis.Redis) -> Callable[[], Awaitable[bytes | None]]:
    """Wait for somebody to wait in Redis. Returns its connection's id."""

    async def blocked() -> bytes | None:
        known = await redis_client.client_list()
        return next((each["id"] for each in known if each["name"] == "tessera-waits" and "b" in each["flags"]), None)

    async def wait() -> bytes | None:
        await eventually(blocked, "it waits")
        return await blocked()

    return wait


@pytest.mark.parametrize("known", [True, False], ids=["", "script not known"])
async def test_it_gets_what_is_queued_while_it_waits(
    waiter: Broker, waits: Callable[[], Awaitable[bytes]], redis_client: aioredis.Redis, add: Add, known: bool
) -> None:
    call = claim(waiter)
    await waits()
    if not known:
        await redis_client.script_flush()
    job = await add()
    leases = await asyncio.wait_for(call, 30)
    assert (ids(leases), leases.some_left) == ([job.id], False)
    assert await depth_of(waiter) == (0, 1)
    assert ids(await waiter.lease(MODEL, "w", free=3, capacity=4, most=4)) == []


async def test_it_gets_what_is_there_at_once(waiter: Broker, add: Add) -> None:
    jobs = [await add() for _ in range(3)]
    leases = await asyncio.wait_for(claim(waiter, most=2), 30)
    assert (ids(leases), leases.some_left) == ([job.id for job in jobs[:2]], True)


async def test_it_ends_without_work_and_outlasts_the_limit_of_a_command(
    client: aioredis.Redis, settings: Settings
) -> None:
    waiter = Broker(client, with_other(settings, redis_timeout_s=1.5))
    assert await asyncio.wait_for(claim(waiter, wait_s=2.0), 30) == []


async def test_one_that_is_given_up_takes_nothing_any_more(
    waiter: Broker, waits: Callable[[], Awaitable[bytes]], add: Add
) -> None:
    call = claim(waiter)
    await waits()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    assert await claim(waiter, most=0, wait_s=0) == []
    job = await add()
    assert await depth_of(waiter) == (1, 0)
    assert await claim(waiter, most=0, wait_s=0) == [], "who wants none gets none"
    assert ids(await claim(waiter)) == [job.id]


async def test_what_it_took_the_next_call_returns_where_the_answer_was_lost(
    waiter: UnreliableBroker, waits: Callable[[], Awaitable[bytes]], add: Add
) -> None:
    waiter.lost = "answer"
    call = claim(waiter)
    await waits()
    job = await add()
    with pytest.raises(QueueUnavailable):
        await call
    assert ids(await claim(waiter, most=0, wait_s=0)) == [job.id]


async def test_an_error_of_the_wait_is_none_of_the_claim(
    waiter: Broker, waits: Callable[[], Awaitable[bytes]], redis_client: aioredis.Redis, add: Add
) -> None:
    call = claim(waiter)
    connection = await waits()
    # As a failover ends all waits.
    await redis_client.client_unblock(int(connection), error=True)
    assert await asyncio.wait_for(call, 30) == []
    job = await add()
    assert ids(await asyncio.wait_for(claim(waiter), 30)) == [job.id], "the connection's answers are in step"
