"""Clients that take nothing, or little, of what is sent to them."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from structlog.testing import capture_logs

from tessera.gateway.uptake import Uptake
from tessera.queue import Data, End
from tests.gateway.raw import connected, post
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat
from tests.polling import eventually

PIECE = Data(b"data: " + b"x" * 100_000 + b"\n\n")


class Line:
    """A connection, of which the test is the client; its kernel keeps little."""

    def __init__(self, client, transport):
        self.client, self.transport, self.uptake = client, transport, Uptake(transport)

    async def take(self, count):
        """Take so many bytes, one by one."""
        for _ in range(count):
            await asyncio.get_running_loop().sock_recv(self.client, 1)


@pytest.fixture
async def line():
    made = asyncio.get_running_loop().create_future()

    class Sender(asyncio.Protocol):
        def connection_made(self, transport):
            made.set_result(transport)

    server = await asyncio.get_running_loop().create_server(Sender, "127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # as little as the kernel allows
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, server.sockets[0].getsockname())
    yield Line(client, await made)
    client.close()
    (await made).abort()
    server.close()


async def full(line):
    """Nothing more is on its way."""
    line.transport.write(b"x" * 1_000_000)

    async def still():
        before = line.uptake._acked_bytes()
        await asyncio.sleep(0.1)
        return line.uptake._acked_bytes() == before

    await eventually(still, "the client's system is full")


async def test_one_that_takes_a_byte_at_a_time_makes_progress(line):
    await full(line)
    now = 1000.0
    assert line.uptake.stalled_s(now) == 0
    for _ in range(3):
        assert line.uptake.stalled_s(now + 50) == 50
        acked = line.uptake._acked_bytes()
        await line.take(1500)  # a system tells of room where there is a packet's
        await eventually(lambda acked=acked: line.uptake._acked_bytes() > acked, "it has taken some")
        now += 60
        assert line.uptake.stalled_s(now) == 0


@pytest.mark.parametrize("told", [True, False], ids=["the system tells", "it does not"])
async def test_what_is_added_is_not_what_was_taken(line, monkeypatch, told):
    await full(line)
    if not told:
        monkeypatch.delattr(socket, "TCP_INFO")
    assert line.uptake.stalled_s(1000) == 0
    for seconds in (20, 40, 61):
        line.transport.write(b"x" * 1000)
        assert line.uptake.stalled_s(1000 + seconds) == seconds
    assert line.uptake.unsent_bytes > 3000


async def test_where_nothing_waits_nobody_is_late(line):
    await full(line)
    assert line.uptake.stalled_s(1000) == 0
    assert line.uptake.stalled_s(1050) == 50
    async with asyncio.timeout(20):
        while line.transport.get_write_buffer_size():
            await asyncio.get_running_loop().sock_recv(line.client, 1_000_000)
    assert line.uptake.stalled_s(1070) == 0
    line.transport.write(b"x")
    assert line.uptake.stalled_s(2000) == 0


async def test_the_kernel_does_not_keep_megabytes_for_one_that_never_reads(line):
    sent = 10_000_000
    line.transport.write(b"x" * sent)
    await full(line)
    assert line.transport.get_write_buffer_size() > sent


async def test_cutting_resets_the_connection(line):
    await full(line)
    line.uptake.cut()
    await eventually(line.transport.is_closing, "it is closed")

    async def reset():
        try:
            while line.client.recv(100_000):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        raise AssertionError("it ended as if it were whole")

    await eventually(reset, "the client hears of it")


async def test_a_connection_that_is_closed_is_nothing_to_fail_on(line):
    await full(line)
    line.uptake.stalled_s(1000)
    line.uptake.cut()
    await eventually(lambda: line.uptake._socket.fileno() < 0, "it is closed")
    line.uptake.stalled_s(1001)
    line.uptake.cut()


class TestGateway:
    @pytest.fixture
    async def strict(self, start_gateway, settings, worker):
        return await start_gateway(settings.model_copy(update={"client_stall_s": 0.2}))

    async def test_a_client_that_never_reads_its_stream_is_cut_off_and_its_job_cancelled(self, strict, worker):
        before = await strict.metric("tessera_connections_stalled_total")
        with capture_logs() as logs:
            async with connected(strict.port) as client:
                client.pause()
                client.send(post(chat(worker.card.model, stream=True)))
                lease = await worker.take()
                await worker.say(lease, STREAM, *[PIECE] * 100)
                await eventually(lambda: worker.cancelled(lease.job.id), "its job is cancelled")
                await eventually(lambda: strict.requests() == 0, "nobody works for it any more")
        assert await strict.metric("tessera_connections_stalled_total") == before + 1
        labels = {"model": worker.card.model, "status": "499", "code": "client_stalled"}
        assert await strict.metric("tessera_requests_total", **labels) == 1
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["client_stalled"]
        assert logs[-1]["event"] == "request_failed"

    async def test_a_client_that_never_reads_a_document_does_not_keep_its_connection(self, strict, worker):
        open_before = await strict.metric("tessera_connections_open")
        async with connected(strict.port) as client:
            client.pause()
            client.send(post(chat(worker.card.model)))
            lease = await worker.take()
            await worker.say(lease, DOCUMENT, Data(b'"' + b"x" * 5_000_000 + b'"'), End(USAGE))

            async def forgotten():
                return await strict.metric("tessera_connections_open") == open_before

            await eventually(lambda: strict.requests() == 0, "it is written")
            await eventually(forgotten, "the connection is closed")

    async def test_a_client_that_waits_for_what_is_not_there_yet_is_no_stalled_one(self, strict, worker):
        async with connected(strict.port) as stalled, connected(strict.port) as patient:
            stalled.pause()
            patient.send(post(chat(worker.card.model)))
            waits = await worker.take()
            stalled.send(post(chat(worker.card.model, stream=True)))
            never = await worker.take()
            await worker.say(never, STREAM, *[PIECE] * 100)
            await eventually(lambda: worker.cancelled(never.job.id), "the other is cut off")
            await worker.echo(waits)
            assert "echo" in json.loads((await patient.answer()).body)
