from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from tessera.gateway import connections, descriptors
from tests.gateway.raw import connected, post
from tests.gateway.scripted import chat
from tests.polling import eventually

GET = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def small(start_gateway, settings, worker):
    """A gateway with room for four connections."""
    return await start_gateway(settings.model_copy(update={"max_connections": 4}))


@pytest.fixture
def no_grace(monkeypatch):
    """Connections that wait give way at once."""
    monkeypatch.setattr(connections, "GRACE_S", 0.0)


@pytest.fixture
async def clients():
    """Opens connections that last as long as the test."""
    async with AsyncExitStack() as stack:

        async def connect(port, count=1):
            return [await stack.enter_async_context(connected(port)) for _ in range(count)]

        yield connect


async def busy(gateway, worker, clients, count):
    """Connections with a request that waits for its answer; returns them, and their jobs."""
    opened = await clients(gateway.port, count)
    for client in opened:
        client.send(post(chat(worker.card.model)))
    return opened, [await worker.take() for _ in opened]


async def ask(client):
    client.send(GET)
    return await client.answer()


@pytest.mark.usefixtures("no_grace")
async def test_new_connections_take_the_place_of_those_that_have_waited_longest(small, clients):
    silent = await clients(small.port, 2)
    served = await clients(small.port, 2)
    for client in served:
        assert (await ask(client)).status == 200
    for closed in silent:  # which have waited for longer than those that had an answer meanwhile
        [new] = await clients(small.port)
        assert (await ask(new)).status == 200
        assert await closed.rest() == b""
    for client in served:
        assert (await ask(client)).status == 200


async def test_no_request_gives_way_to_a_new_connection_which_hears_that_there_is_no_room(small, worker, clients):
    asked, leases = await busy(small, worker, clients, 4)
    with capture_logs() as logs:
        for _ in range(3):
            [late] = await clients(small.port)
            answer = await late.answer()
            assert (answer.status, answer.error["code"]) == (503, "too_many_connections")
            assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
            assert await late.rest() == b""
    assert [(line["event"], line["log_level"]) for line in logs] == [("connection_limit_reached", "warning")]
    for lease in leases:
        await worker.echo(lease)
    for client in asked:
        assert (await client.answer()).status == 200
        assert (await ask(client)).status == 200


async def test_many_that_do_not_read_their_refusal_hold_no_file_descriptors(small, worker, clients, monkeypatch):
    monkeypatch.setattr(connections, "MOST_LINGERING", 2)
    _, leases = await busy(small, worker, clients, 4)
    refused = await clients(small.port, 20)
    for client in refused:
        assert b"too_many_connections" in await client.rest()
    for lease in leases:
        await worker.echo(lease)


@pytest.mark.usefixtures("no_grace")
async def test_the_metrics_tell_of_open_refused_and_closed_connections(small, worker, clients):
    async def counted():
        names = ("tessera_connections_open", "tessera_connections_evicted_total")
        refusals = await small.metric("tessera_http_requests_refused_total", code="too_many_connections")
        return [await small.metric(name) for name in names] + [refusals]

    before = await counted()
    _, leases = await busy(small, worker, clients, 3)  # beside the one that reads the metrics
    opened, closed, refused = await counted()
    assert (opened, closed, refused) == (4, before[1], before[2])
    [new] = await clients(small.port)
    new.send(post(chat(worker.card.model)))
    leases.append(await worker.take())
    [late] = await clients(small.port)
    assert (await late.answer()).status == 503
    await worker.echo(leases[-1])
    await new.answer()
    opened, closed, refused = await counted()
    assert (opened, closed, refused) == (4, before[1] + 2, before[2] + 1)
    for lease in leases[:-1]:
        await worker.echo(lease)


async def test_connections_that_were_just_made_are_not_closed_for_newer_ones(small, clients, monkeypatch):
    monkeypatch.setattr(connections, "GRACE_S", 3600.0)
    new = await clients(small.port, 4)
    [late] = await clients(small.port)
    assert (await late.answer()).status == 503
    for client in new:
        assert (await ask(client)).status == 200


@pytest.mark.usefixtures("no_grace")
async def test_a_crowd_at_the_limit_is_told_of_again_and_summed_up(monkeypatch):
    class Silent:
        def abort(self):
            pass

        def enforce_deadline(self, now):
            pass

    crowd = connections.Connections(1)
    monkeypatch.setattr(connections, "TELL_EVERY_S", 0.05)
    with capture_logs() as logs:
        for _ in range(5):
            crowd.admit(Silent())
        keeping = asyncio.create_task(crowd.run(every_s=0.01))
        await eventually(lambda: len(logs) == 2, "the rest is told of")
        keeping.cancel()
    assert [line["closed_waiting"] for line in logs] == [1, 3]


@pytest.fixture
def limits(monkeypatch):
    """The limits on file descriptors, of which the process keeps its own."""
    now = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: now.__setitem__(slice(None), new))
    return now


def test_the_limit_on_file_descriptors_is_raised_as_far_as_it_goes(limits):
    descriptors.raise_descriptor_limit()
    assert limits == [4096, 4096]


def test_a_limit_that_cannot_be_raised_is_told_of(limits, monkeypatch):
    def refuse(which, new):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with capture_logs() as logs:
        descriptors.raise_descriptor_limit()
    assert [(line["event"], line["limit"]) for line in logs] == [("descriptor_limit_kept", 1024)]


@pytest.mark.parametrize(
    ("soft", "wanted", "most"),
    [
        (1024, 16_384, 768),
        (1024, 100, 100),
        (100, 16_384, 50),
        (1_048_576, 16_384, 16_384),
        (resource.RLIM_INFINITY, 16_384, 16_384),
    ],
)
def test_there_are_as_many_connections_as_file_descriptors_allow(limits, soft, wanted, most):
    limits[0] = soft
    assert descriptors.most_connections(wanted) == most
