from __future__ import annotations

import asyncio

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tessera.queue import Failure
from tests.gateway.scripted import chat

HEADER = "X-Request-Id"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("HEAD", "/v1/models", 200),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/readyz", 405),
        ("POST", "/v1/chat/completions", 415),
    ],
)
async def test_every_answer_has_an_id_of_its_own(gateway, method, path, status):
    ids = []
    for _ in range(2):
        async with gateway.http.request(method, gateway.url + path) as response:
            assert response.status == status
            ids += response.headers.getall(HEADER)
    assert len(set(ids)) == len(ids) == 2


async def test_an_answer_of_a_worker_has_one_and_its_job_is_found_by_it(gateway, worker):
    for stream in (False, True):
        asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=stream)))
        lease = await worker.take()
        await worker.echo(lease)
        answer = await asked
        [request_id] = answer.headers.getall(HEADER)
        assert lease.job.id.startswith(f"{request_id}-")


async def test_the_clients_own_id_is_given_back_and_found_in_the_log(gateway, worker):
    async def fail(lease):
        await worker.say(lease, Failure("internal_error", "It broke."))

    own = "3f0c9c1e-7a51-4e0e-9a53-0a4f6f0d2b11"
    with capture_logs([merge_contextvars]) as logs:
        async with worker.serving(fail):
            answers = [await gateway.post(chat(worker.card.model), headers={HEADER: own}) for _ in range(2)]
    assert [answer.headers[HEADER] for answer in answers] == [own, own]
    lines = [line for line in logs if line["event"] == "request_failed"]
    assert [line["request_id"] for line in lines] == [own, own]
    jobs = [line["job"] for line in lines]
    assert len(set(jobs)) == 2
    assert all(job.startswith(f"{own}-") for job in jobs)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a" * 5000, "a" * 128),
        ("a b\t{c}\"d'", "a_b__c__d_"),
        ("Ünicode", "__nicode"),
        ("req:1.2-3_4", "req:1.2-3_4"),
    ],
)
async def test_a_clients_id_is_short_and_clean(gateway, given, shown):
    async with gateway.http.get(gateway.url + "/livez", headers={HEADER: given}) as response:
        assert response.headers[HEADER] == shown


async def test_an_empty_id_is_none(gateway):
    async with gateway.http.get(gateway.url + "/livez", headers={HEADER: ""}) as response:
        assert len(response.headers[HEADER]) == 16
