from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from tessera.gateway.server import GatewayServer
from tessera.queue import Data, End
from tests.gateway.raw import connected, post
from tests.gateway.scripted import STREAM, chat, event
from tests.polling import eventually

READY = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"


async def begin(gateway, worker):
    """A stream that has begun."""
    asked = asyncio.create_task(gateway.post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))

    async def begun():
        return await gateway.metric("tessera_time_to_first_token_seconds_count", model=worker.card.model) == 1

    await eventually(begun, "the stream has begun")
    return asked, lease


@pytest.fixture
async def hasty(start_gateway, settings, worker):
    """A gateway that waits for no request when it stops."""
    return await start_gateway(settings.model_copy(update={"drain_timeout_s": 0}))


async def test_a_shutdown_lets_streams_end(gateway, worker):
    asked, lease = await begin(gateway, worker)
    stopping = asyncio.create_task(gateway.stop())
    await eventually(lambda: not gateway.listening(), "no new connection is taken")
    await worker.say(lease, event("two"), Data(b"data: [DONE]\n\n"), End())
    assert (await asked).body == event("one").body + event("two").body + b"data: [DONE]\n\n"
    await stopping


async def test_a_stream_that_takes_too_long_ends_with_an_error_and_leaves_no_job(hasty, worker):
    asked, lease = await begin(hasty, worker)
    with capture_logs() as logs:
        await hasty.stop()
    one, error, done, end = (await asked).body.split(b"\n\n")
    assert one + b"\n\n" == event("one").body
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "gateway_stopping"
    assert (done, end) == (b"data: [DONE]", b"")
    assert await worker.cancelled(lease.job.id)
    assert [(line["event"], line.get("code")) for line in logs] == [
        ("gateway_draining", None),
        ("requests_given_up", None),
        ("request_failed", "gateway_stopping"),
        ("gateway_stopped", None),
    ]


async def test_a_request_whose_answer_has_not_begun_gets_a_status(hasty, worker):
    asked = [asyncio.create_task(hasty.post(chat(worker.card.model, stream=stream))) for stream in (False, True)]
    leases = [await worker.take() for _ in asked]
    await hasty.stop()
    for answer in [await a for a in asked]:
        assert (answer.status, answer.error["code"]) == (503, "gateway_stopping")
        assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("1", "close")
        assert answer.headers["X-Request-Id"]
    assert [await worker.cancelled(lease.job.id) for lease in leases] == [True, True]


async def test_a_request_that_is_not_in_the_queue_yet_gets_one_too(hasty, worker, media_server):
    image = {"type": "image_url", "image_url": {"url": media_server.hang("/slow.png")}}
    fetching = asyncio.create_task(hasty.post(chat(worker.card.model, image)))
    await eventually(lambda: media_server.asked, "the image is fetched")
    async with connected(hasty.port) as client:
        client.send(post(chat(worker.card.model))[:-3])

        async def both_open():
            return await hasty.metric("tessera_requests_open") == 2

        await eventually(both_open, "half a body is there")
        await hasty.stop()
        half = await client.answer()
        assert await client.rest() == b""
    fetched = await fetching
    for answer in (half, fetched):
        assert (answer.status, answer.error["code"]) == (503, "gateway_stopping")
    assert await worker.waiting() == 0


async def test_a_client_that_does_not_read_holds_up_no_shutdown(hasty, worker):
    async with connected(hasty.port) as client:
        client.send(post(chat(worker.card.model, stream=True)))
        lease = await worker.take()
        # More than the sockets' buffers hold, which the client does not empty.
        await worker.say(lease, STREAM, *[Data(b"data: " + b"x" * 1_000_000 + b"\n\n")] * 15)

        async def begun():
            return await hasty.metric("tessera_time_to_first_token_seconds_count", model=worker.card.model) == 1

        await eventually(begun, "the stream has begun")
        async with asyncio.timeout(15):
            await hasty.stop()
    assert await worker.cancelled(lease.job.id)


async def test_work_that_nothing_else_ends_is_cancelled(hasty, monkeypatch, caplog):
    async def hang():
        cancelled = False
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if cancelled:
                    raise
                cancelled = True  # as libraries do; see `disconnect`

    monkeypatch.setattr(hasty.app.state.services.broker, "ping", hang)
    async with connected(hasty.port) as client:
        client.send(READY)
        await eventually(lambda: hasty.requests() == 1, "the request is there")
        await hasty.stop()
    assert not caplog.records


async def test_readiness_goes_before_the_socket_closes(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"drain_notice_s": 1.0}))
    async with connected(gateway.port) as idle, connected(gateway.port) as client:
        idle.send(READY)
        assert (await idle.answer()).status == 200
        stopping = asyncio.create_task(gateway.stop())
        await eventually(lambda: gateway.app.state.draining, "it is told to stop")
        client.send(READY)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)) == (503, {"ready": False, "draining": True})
        assert answer.headers["connection"] == "close"
        assert gateway.listening()
        async with worker.serving(worker.echo):
            assert (await gateway.post(chat(worker.card.model))).status == 200
        assert await idle.rest() == b""
        await stopping


def test_the_address_comes_from_the_settings(settings):
    config = GatewayServer(FastAPI(), settings.model_copy(update={"host": "127.0.0.9", "port": 1234})).config
    assert (config.host, config.port) == ("127.0.0.9", 1234)
