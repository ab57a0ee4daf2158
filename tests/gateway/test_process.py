"""What only shows in a process of its own."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

from tessera.queue import Data
from tests.gateway.process import gateway_process
from tests.gateway.raw import connected, parse_head, post
from tests.gateway.scripted import STREAM, chat, event
from tests.polling import eventually

GET = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def begun_stream(client, worker, *pieces):
    """A stream whose first bytes have come; returns its lease."""
    client.send(post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, *pieces)
    status, _ = parse_head(await client.until(b"\r\n\r\n"))
    assert status == 200
    return lease


async def test_more_silent_connections_than_file_descriptors_leave_it_answering(settings, tmp_path):
    async with gateway_process(settings, tmp_path, descriptors=1024) as gateway, AsyncExitStack() as crowd:
        for _ in range(1100):
            await crowd.enter_async_context(connected(gateway.port))

        async def answers():
            async with connected(gateway.port) as client:
                client.send(GET)
                return (await client.answer()).status == 200

        await eventually(answers, "one of the silent ones gives way")
    lines = [line for line in gateway.log() if line["event"] == "connection_limit_reached"]
    assert [(line["level"], line["limit"]) for line in lines[:1]] == [("warning", 768)]


async def test_sigterm_ends_streams_with_an_error_and_the_process_well(settings, worker, tmp_path):
    async with gateway_process(settings, tmp_path, drain_timeout_s=0.5) as gateway:
        async with connected(gateway.port) as streaming, connected(gateway.port) as waiting:
            lease = await begun_stream(streaming, worker, event("one"))
            waiting.send(post(chat(worker.card.model)))
            await worker.take()
            gateway.terminate()
            rest = await streaming.rest()
            assert b'"code":"gateway_stopping"' in rest
            assert b"data: [DONE]\n\n" in rest
            assert rest.endswith(b"0\r\n\r\n")
            refused = await waiting.answer()
            assert (refused.status, refused.error["code"]) == (503, "gateway_stopping")
        assert await gateway.ended() == 0
    assert await worker.cancelled(lease.job.id)
    log = gateway.log()
    assert not [line for line in log if "exception" in line]
    assert [line["event"] for line in log][-1] == "gateway_stopped"
    failed = [line for line in log if line["event"] == "request_failed"]
    assert [line["code"] for line in failed] == ["gateway_stopping"] * 2


async def test_clients_that_never_read_do_not_keep_a_process_that_was_told_to_stop(settings, worker, tmp_path):
    piece = Data(b"data: " + b"x" * 1_000_000 + b"\n\n")
    async with gateway_process(settings, tmp_path, drain_timeout_s=0.5) as gateway, AsyncExitStack() as clients:
        for _ in range(3):
            client = await clients.enter_async_context(connected(gateway.port))
            await begun_stream(client, worker, *[piece] * 15)
        gateway.terminate()
        async with asyncio.timeout(20):
            assert await gateway.ended() == 0
    assert not [line for line in gateway.log() if "exception" in line]


async def test_a_redis_that_hangs_does_not_keep_it_either(own, own_redis, own_worker, tmp_path):
    async with gateway_process(own, tmp_path, drain_timeout_s=0.5) as gateway:
        async with connected(gateway.port) as client:
            await begun_stream(client, own_worker, event("one"))
            own_redis.hang()
            gateway.terminate()
            assert b'"code":"gateway_stopping"' in await client.rest()
        assert await gateway.ended() == 0
        own_redis.go_on()
    assert not [line for line in gateway.log() if "exception" in line]


async def test_a_second_signal_ends_the_drain(settings, worker, tmp_path):
    async with gateway_process(settings, tmp_path, drain_timeout_s=3600) as gateway:
        async with connected(gateway.port) as client:
            await begun_stream(client, worker, event("one"))
            gateway.interrupt()
            await eventually(lambda: "gateway_draining" in gateway.events(), "it drains")
            gateway.interrupt()
            assert b'"code":"gateway_stopping"' in await client.rest()
        assert await gateway.ended() == 0


async def test_every_line_of_the_log_is_json(settings, tmp_path):
    async with gateway_process(settings, tmp_path, log_level="debug") as gateway:
        async with connected(gateway.port) as client:
            client.send(b"\x00\r\n\r\n")
            assert json.loads((await client.answer()).body)["error"]["code"] == "invalid_http"
        gateway.terminate()
        assert await gateway.ended() == 0
    assert "request_refused" in gateway.events()
