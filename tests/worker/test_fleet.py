"""A worker tells how many of its kind are wanted, as often as that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis.asyncio as aioredis

from tessera.queue import Directory, ModelCard
from tessera.queue.keys import Keys
from tessera.settings import SIMULATED, Settings
from tessera.worker import fleet
from tessera.worker.fleet import Fleet, follow
from tessera.worker.replica import Replica
from tests.polling import eventually


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PERIOD_S", 0.01)


async def test_each_change_is_told_once_and_an_error_ends_nothing() -> None:
    answers: Iterator[Fleet | Exception] = iter(
        [Fleet("f", 1), RuntimeError("no controller"), Fleet("f", 1), Fleet("f", 3)]
    )
    told = []

    def ask() -> Fleet:
        answer = next(answers, Fleet("f", 3))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def changed(now: Fleet) -> None:
        told.append(now)

    task = asyncio.create_task(follow(ask, changed))
    try:
        await eventually(lambda: len(told) == 2, "both are told")
        await asyncio.sleep(0)
        assert told == [Fleet("f", 1), Fleet("f", 3)]
    finally:
        task.cancel()


async def test_a_worker_says_what_it_heard(settings: Settings, redis_client: aioredis.Redis) -> None:
    directory, wanted = Directory(redis_client, Keys(settings.redis_prefix)), [2]
    own = settings.model_copy(update={"engine": SIMULATED, "drain_timeout_s": 0.0})
    replica = Replica(own, fleet=lambda: Fleet("f", wanted[0]))
    await replica.start()
    try:
        for count in (2, 5):
            wanted[0] = count

            async def told(count: int = count) -> bool:
                return [(card.fleet, card.wanted) for _, card in await directory.workers()] == [("f", count)]

            await eventually(told, f"it says {count}")
    finally:
        await replica.stop()


async def test_fleets_are_added_up(settings: Settings, redis_client: aioredis.Redis) -> None:
    directory = Directory(redis_client, Keys(settings.redis_prefix))

    async def announce(worker: str, model: str, **said: object) -> int | None:
        await directory.announce(worker, ModelCard(model, "/m", 10, **said), ttl_s=60)  # type: ignore[arg-type]
        return {served.card.model: served.wanted for served in await directory.models()}[model]

    assert await announce("a", "m") is None, "a worker of a version that does not say"
    assert await announce("b", "m", fleet="f", wanted=2) == 2
    # A moment after somebody wants more.
    assert await announce("c", "m", fleet="f", wanted=3) == 3
    assert await announce("d", "m", fleet="g", wanted=1) == 4
    assert await announce("e", "other", fleet="f", wanted=7) == 7
