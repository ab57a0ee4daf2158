"""A client that sends bytes, so that it can send what no library would."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

PATIENCE_S = 20.0


@dataclass(frozen=True)
class RawAnswer:
    """One answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader = reader
        self._writer = writer

    def send(self, *data: bytes | str) -> None:
        for piece in data:
            self._writer.write(piece.encode() if isinstance(piece, str) else piece)

    def pause(self) -> None:
        """Read nothing from now on."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Read on."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def answer(self) -> RawAnswer:
        """The next answer, whose length is known."""
        async with asyncio.timeout(PATIENCE_S):
            status, headers = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
            return RawAnswer(status, headers, await self._reader.readexactly(int(headers["content-length"])))

    async def rest(self) -> bytes:
        """Everything until the server closes the connection; what it resets instead is a failure."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read()

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readuntil(end)


@asynccontextmanager
async def connected(port: int, receive_bytes: int = 0) -> AsyncIterator[RawClient]:
    """A connection of its own; its kernel takes no more than so many bytes that nobody reads, where that is said."""
    end = socket.socket()
    if receive_bytes:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    end.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
    except BaseException:
        end.close()
        raise
    reader, writer = await asyncio.open_connection(sock=end)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert len(headers) == len(lines), f"a header twice: {head!r}"
    return int(first.split(" ")[1]), headers


def post(body: Any, *headers: str, version: str = "1.1", path: str = "/v1/chat/completions") -> bytes:
    """The bytes of a request."""
    data = json.dumps(body).encode()
    own = ["Host: x", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines = [f"POST {path} HTTP/{version}", *own, *headers, "", ""]
    return "\r\n".join(lines).encode() + data
