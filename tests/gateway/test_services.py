from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tessera.gateway import services
from tessera.gateway.catalogue import Catalogue
from tessera.gateway.services import open_services
from tessera.gateway.upkeep import Upkeep
from tessera.queue import Job, ReplyHub
from tests.polling import eventually


@pytest.mark.parametrize("part", [ReplyHub, Catalogue, Upkeep])
async def test_a_background_task_that_fails_is_started_again_and_seen(settings, monkeypatch, part):
    monkeypatch.setattr(services, "RESTART_AFTER_S", 0.01)
    runs = 0
    running = part.run

    async def run(self):
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ZeroDivisionError
        await running(self)

    run.__qualname__ = running.__qualname__
    monkeypatch.setattr(part, "run", run)
    with capture_logs() as logs:
        async with open_services(settings):
            await eventually(lambda: runs == 3, "it runs for the third time")
    failures = [line for line in logs if line["event"] == "background_task_failed"]
    assert [line["task"] for line in failures] == [f"{part.__name__}.run"] * 2


async def test_closing_ends_a_task_that_loses_its_cancellation(settings, monkeypatch):
    async def stubborn(self):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    monkeypatch.setattr(Upkeep, "run", stubborn)
    before = asyncio.all_tasks()
    async with asyncio.timeout(10), open_services(settings):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_closing_waits_for_jobs_to_be_cancelled(settings, worker, card):

    job = Job("a" * 24, card.model, "/v1/completions", b"{}")
    async with open_services(settings) as opened:
        await opened.broker.enqueue(job, reply_to=opened.gateway_id)
        opened.abandon(job)
    assert await worker.cancelled(job.id)
