"""The network between a worker and Redis, which can be cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

_CHUNK_BYTES = 1 << 16


class Link:
    """Passes bytes from a socket to another one, and back.

    Args:
        socket: that it listens on.
        target: that it connects to.
    """

    def __init__(self, socket: Path, target: Path):
        self.socket = socket
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """What a client of Redis connects to."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    def cut(self, *, silently: bool) -> None:
        """From now on nothing gets through.

        Args:
            silently: connections stay open, as when packets get lost; otherwise they are reset, and new ones too.
        """
        self._whole.clear()
        if not silently:
            self._refusing = True
            self._reset()

    def mend(self) -> None:
        """Let through what waits, and what comes."""
        self._refusing = False
        self._whole.set()

    def stop(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
        self._reset()

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            await self._whole.wait()
            answers, there = await asyncio.open_unix_connection(self._target)
            self._writers.add(there)
            await asyncio.gather(self._pass(reader, there), self._pass(answers, writer))
        except (OSError, RuntimeError):  # uvloop's, of a connection that is closed
            return  # one of the two has gone, and the other one is to see that
        finally:
            for end in (writer, there):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        if not writer.is_closing():
            writer.write_eof()
