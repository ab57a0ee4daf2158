from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tessera.queue import Job, Lease
from tessera.worker import seats as module
from tessera.worker.seats import Seats
from tests.worker.jobs import MODEL


def lease(*, batch: bool, width: int = 1) -> Lease:
    return Lease(Job("job", MODEL, "/v1/completions", b"{}", width, batch=batch), 1, 1, 0, width=width)


@pytest.mark.parametrize("batch", [True, False])
async def test_it_is_known_how_long_jobs_of_batches_take(monkeypatch: pytest.MonkeyPatch, batch: bool) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    seats = Seats(8, 4)
    for _ in range(100):
        task = asyncio.create_task(asyncio.sleep(0))
        seats.take(task, lease(batch=batch))
        now += 4.0
        seats.give_back(task)
    assert seats.batch_s == pytest.approx(4.0 if batch else 0.0, rel=0.01)


async def test_a_job_that_narrows_gives_back_the_rest_once() -> None:
    seats = Seats(8, 4)
    task = asyncio.create_task(asyncio.sleep(0))
    seats.take(task, lease(batch=True, width=8))
    assert seats.full
    seats.changed.clear()
    seats.narrow(task, 3)
    seats.narrow(task, 3)
    assert seats.changed.is_set()
    assert seats.room() == {"free": 5, "capacity": 8, "of_batches": 3}
    assert not seats.full_of_batches
    others = [asyncio.create_task(asyncio.sleep(0)) for _ in range(4)]
    seats.take(others[0], lease(batch=True))
    assert seats.full_of_batches
    seats.give_back(others[0])
    assert not seats.full_of_batches
    for other in others:
        seats.take(other, lease(batch=False))
    assert not seats.full_of_batches
    seats.take(asyncio.create_task(asyncio.sleep(0)), lease(batch=False))
    assert seats.full
    assert seats.full_of_batches
    for other in list(seats.tasks):
        if other is not task:
            seats.give_back(other)
    seats.give_back(task)
    seats.narrow(task, 1)
    assert seats.room() == {"free": 8, "capacity": 8, "of_batches": 0}
