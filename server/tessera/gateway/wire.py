"""A response on its way out: its head, its body, and signs of life while a stream has nothing to say."""

from __future__ import annotations

import asyncio
from typing import Self

from starlette.types import Send

from tessera.gateway.direct import ShortWay
from tessera.gateway.packing import pack
from tessera.queue import Head

_STREAM = "text/event-stream"
STREAM_HEAD = Head(200, f"{_STREAM}; charset=utf-8")
# Server-sent events: clients pass over a line that begins with a colon.
WAITING = b": waiting\n\n"
_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Wire:
    """One response, written by one task. A context manager, while which a stream is kept alive.

    Args:
        send_piece: the way out for what comes after the head.
        heartbeat_s: silence after which a comment is sent, the first with a head; 0: never. It costs one timer a
            response, not one a token.
        packed_from: bytes from which on a document is compressed; 0: never.

    Attributes:
        started: the head is out; what comes now can no longer have a status of its own.
    """

    def __init__(self, send: Send, send_piece: ShortWay, *, heartbeat_s: float, packed_from: int = 0):
        self.started = False
        self._send = send
        self._send_piece = send_piece
        self._heartbeat_s = heartbeat_s
        self._packed_from = packed_from
        self._loop = asyncio.get_running_loop()
        self._last_write = self._loop.time()
        self._writing = False
        self._comment: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._heartbeat_s:
            self._timer = self._loop.call_later(self._heartbeat_s, self._look)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def write(self, head: Head, body: bytes, *, more: bool) -> None:
        """Write a piece of the body, with the head if that is not out yet; waits while the client reads too slowly."""
        if self._comment is not None:
            await self._comment
        self._writing = True
        try:
            if not self.started:
                whole = not (more or is_stream(head))
                if whole and 0 < self._packed_from <= len(body):
                    head, body = await pack(head, body)
                await self._start(head, len(body) if whole else None)
            await self._send_piece({"type": "http.response.body", "body": body, "more_body": more})
        finally:
            self._writing = False
            self._last_write = self._loop.time()

    @property
    def flows(self) -> bool:
        """Whether ``push`` may be called: nothing is being written, and the client takes what comes."""
        return self.started and not self._writing and self._comment is None and self._send_piece.open

    def push(self, body: bytes) -> None:
        """Write a piece of the body that is not the last, at once."""
        self._send_piece.push(body)
        self._last_write = self._loop.time()

    def _look(self) -> None:
        wait_s = self._last_write + self._heartbeat_s - self._loop.time()
        if self._writing or self._comment is not None:
            wait_s = self._heartbeat_s  # the client has yet to take what there is
        elif wait_s <= 0:
            self._comment = asyncio.create_task(self._send_comment())
            wait_s = self._heartbeat_s
        self._timer = self._loop.call_later(wait_s, self._look)

    async def _send_comment(self) -> None:
        try:
            if not self.started:
                await self._start(STREAM_HEAD, None)
            await self._send_piece({"type": "http.response.body", "body": WAITING, "more_body": True})
        finally:
            self._comment = None
            self._last_write = self._loop.time()

    async def _start(self, head: Head, length: int | None) -> None:
        self.started = True
        headers = [(b"content-type", head.content_type.encode())]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in head.headers.items()]
        headers += _STREAM_HEADERS if length is None else [(b"content-length", str(length).encode())]
        await self._send({"type": "http.response.start", "status": head.status, "headers": headers})


def is_stream(head: Head) -> bool:
    """Whether the response is a stream of server-sent events."""
    return head.content_type.startswith(_STREAM)
