from __future__ import annotations

import asyncio
import socket

import pytest
from starlette.responses import PlainTextResponse

from tessera.worker import engine_port
from tessera.worker.engine_port import serve_engine_port

APP = PlainTextResponse("here")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def fetch(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_it_serves_while_the_context_lasts() -> None:
    port = free_port()
    async with serve_engine_port(APP, port):
        assert (await fetch(port)).endswith(b"here")
    with pytest.raises(ConnectionRefusedError):
        await fetch(port)


async def test_a_port_that_is_taken_costs_a_warning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[int] = []
    monkeypatch.setattr(engine_port.log, "warning", lambda _event, *, port, **_: warned.append(port))
    port = free_port()
    async with serve_engine_port(APP, port), serve_engine_port(APP, port):
        assert (await fetch(port)).endswith(b"here")
    assert warned == [port]


async def test_a_port_can_be_taken_again_at_once() -> None:
    port = free_port()
    for _ in range(2):
        async with serve_engine_port(APP, port):
            assert await fetch(port)
