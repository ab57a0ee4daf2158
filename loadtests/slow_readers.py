"""Clients that ask for long answers and read them at once, hardly, or not at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from enum import Enum

# As little as the kernel allows: what it keeps for a client, the client seems to have read.
_RECEIVE_BUFFER_BYTES = 1
_AT_ONCE_BYTES = 65_536
READ_EVERY_S = 1.0


class Reading(Enum):
    """How a client reads."""

    AT_ONCE = 0
    SLOWLY = 1  # a byte every ``READ_EVERY_S``
    NEVER = 2


@asynccontextmanager
async def asking(host: str, port: int, requests: Iterable[bytes], reading: Reading) -> AsyncIterator[None]:
    """Have requests under way, each on a connection of its own, while the context lasts.

    Raises:
        OSError: the server cannot be reached.
    """
    sockets: list[socket.socket] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        for request in requests:
            sockets.append(connection := socket.socket())
            await _ask(connection, host, port, request, reading)
            tasks.append(asyncio.create_task(_read(connection, reading)))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in sockets:
            connection.close()


async def _ask(connection: socket.socket, host: str, port: int, request: bytes, reading: Reading) -> None:
    loop = asyncio.get_running_loop()
    if reading is not Reading.AT_ONCE:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    connection.setblocking(False)
    await loop.sock_connect(connection, (host, port))
    await loop.sock_sendall(connection, request)


async def _read(connection: socket.socket, reading: Reading) -> None:
    """Read until the server ends it, which may cut it off."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        if reading is Reading.AT_ONCE:
            while await loop.sock_recv(connection, _AT_ONCE_BYTES):
                pass
        elif reading is Reading.SLOWLY:
            while True:
                await loop.sock_recv(connection, 1)
                await asyncio.sleep(READ_EVERY_S)
