from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from tessera.errors import MediaMemoryFull
from tessera.media.budget import ByteBudget


def new(limit=10, wait_s=60.0, **options):
    return ByteBudget("test", limit, wait_s, **options)


def gauge(name):
    return REGISTRY.get_sample_value(f"tessera_media_memory_{name}", {"use": "test"})


async def turn():
    """Let every task go on until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waits_for_room_and_serves_in_order():
    budget = new()
    order = []
    release = asyncio.Event()

    async def work(name, nbytes):
        async with budget.hold(nbytes):
            order.append(name)
            await release.wait()

    tasks = [asyncio.create_task(work(name, n)) for name, n in [("a", 6), ("b", 6), ("c", 1)]]
    await turn()
    assert order == ["a"]
    assert budget.held == gauge("bytes") == 6
    assert gauge("waiting") == 2
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    assert budget.held == gauge("bytes") == gauge("waiting") == 0


async def test_something_larger_than_the_budget_runs_alone():
    budget = new()
    running = []

    async def work(nbytes):
        async with budget.hold(nbytes):
            running.append(nbytes)
            assert len(running) == 1 or 1000 not in running
            await turn()
            running.remove(nbytes)

    async with asyncio.timeout(10):
        await asyncio.gather(*(work(nbytes) for nbytes in (3, 1000, 4, 1000, 5)))
    assert budget.held == 0


async def test_whoever_waits_for_too_long_is_refused():
    budget = new(wait_s=0.05)
    async with budget.hold(5):
        with pytest.raises(MediaMemoryFull) as caught:
            async with budget.hold(6):
                raise AssertionError
        assert (caught.value.status, caught.value.code) == (429, "media_memory_full")
        assert caught.value.headers()["Retry-After"] == "5"
        assert budget.held == 5
        assert gauge("waiting") == 0
        async with budget.hold(5):
            assert budget.held == 10


async def test_what_waits_behind_one_that_is_refused_goes_on():
    budget = new(wait_s=1.0)
    entered = asyncio.Event()

    async def enter(nbytes):
        async with budget.hold(nbytes):
            entered.set()

    async with budget.hold(8):
        large = asyncio.create_task(enter(3))
        await asyncio.wait([large], timeout=0.3)  # so that the other one's time is not over with its own
        behind = asyncio.create_task(enter(2))
        with pytest.raises(MediaMemoryFull):
            await large
        await behind
    assert entered.is_set()


async def test_errors_and_cancellation_release():
    budget = new()
    with pytest.raises(RuntimeError):
        async with budget.hold(10):
            raise RuntimeError
    assert budget.held == 0

    async def wait(nbytes):
        async with budget.hold(nbytes):
            await asyncio.Event().wait()

    holder, waiter, next_ = (asyncio.create_task(wait(n)) for n in (8, 10, 2))
    await turn()
    waiter.cancel()
    await asyncio.wait([waiter])
    await turn()
    # The one behind the cancelled waiter fits beside the holder.
    assert budget.held == 10
    for task in (holder, next_):
        task.cancel()
    await asyncio.wait([holder, next_])
    assert budget.held == 0


async def test_a_turn_that_comes_with_the_cancellation_is_given_back():
    budget = new()
    entered = asyncio.Event()

    async def wait():
        async with budget.hold(10):
            entered.set()

    async with budget.hold(10):
        waiter = asyncio.create_task(wait())
        await turn()
    waiter.cancel()
    await asyncio.wait([waiter])
    assert not entered.is_set()
    assert budget.held == 0


async def test_those_who_ask_for_more_while_they_hold_something_all_end_within_the_limit():
    """Each takes ten bytes, one after the other; four of them never have room for all."""
    budget = new(20, kept=10)

    async def download():
        with budget.open() as share:
            for _ in range(10):
                if not share.grow(1):
                    await share.wait(1)
                assert budget.held <= 20
                await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(*(download() for _ in range(40)))
    assert budget.held == 0


async def test_without_room_that_is_kept_for_it_the_first_goes_on_beyond_the_limit():
    budget = new(20)

    async def download():
        with budget.open() as share:
            for _ in range(10):
                if not share.grow(1):
                    await share.wait(1)
                await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(*(download() for _ in range(40)))
    assert budget.held == 0


async def test_a_share_that_shrinks_makes_room():
    budget = new()
    with budget.open() as share:
        assert share.grow(10)

        async def enter():
            async with budget.hold(4):
                return budget.held

        waiting = asyncio.create_task(enter())
        await turn()
        assert not waiting.done()
        share.shrink(6)
        assert await waiting == 10


async def test_whoever_came_first_goes_first_also_when_it_asks_for_more():
    budget = new()
    order = []

    async def ask(name, share, nbytes):
        await share.wait(nbytes)
        order.append(name)

    with budget.open() as first, budget.open() as second, budget.open() as third:
        assert first.grow(4)
        assert second.grow(3)
        assert third.grow(3)
        tasks = [asyncio.create_task(ask(name, share, 1)) for name, share in (("third", third), ("second", second))]
        await turn()
        first.shrink(3)
        await turn()
        assert order == ["second"]
        first.shrink(2)
        await asyncio.gather(*tasks)
        assert order == ["second", "third"]
