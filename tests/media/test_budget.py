from __future__ import annotations

import asyncio

import pytest

from tessera.media.budget import ByteBudget


async def test_waits_for_room_and_serves_in_order():
    budget = ByteBudget(10)
    order = []
    release = asyncio.Event()

    async def work(name, nbytes):
        async with budget.hold(nbytes):
            order.append(name)
            await release.wait()

    tasks = [asyncio.create_task(work(name, n)) for name, n in [("a", 6), ("b", 6), ("c", 1)]]
    await asyncio.sleep(0)
    assert order == ["a"]
    assert budget.held == 6
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    assert budget.held == 0


async def test_something_larger_than_the_budget_runs_alone():
    budget = ByteBudget(10)
    async with budget.hold(1000):
        assert budget.held == 10


async def test_errors_and_cancellation_release():
    budget = ByteBudget(10)
    with pytest.raises(RuntimeError):
        async with budget.hold(10):
            raise RuntimeError
    assert budget.held == 0

    async def wait(nbytes):
        async with budget.hold(nbytes):
            await asyncio.Event().wait()

    holder, waiter, next_ = (asyncio.create_task(wait(n)) for n in (8, 10, 2))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    await asyncio.sleep(0)
    # The one behind the cancelled waiter fits beside the holder.
    assert budget.held == 10
    for task in (holder, next_):
        task.cancel()
    await asyncio.wait([holder, next_])
    assert budget.held == 0


async def test_a_turn_that_comes_with_the_cancellation_is_given_back():
    budget = ByteBudget(10)
    entered = asyncio.Event()

    async def wait():
        async with budget.hold(10):
            entered.set()

    async with budget.hold(10):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert not entered.is_set()
    assert budget.held == 0
