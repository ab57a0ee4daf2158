"""The short way out for the pieces of an answer.

Middleware sees every message of an answer, and has to do with its first one alone: five calls less for each token. And
while the client takes what comes, a piece needs no task to be woken for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_EXTENSION = "tessera.direct"


class ShortWay:
    """The way out for what follows the head of an answer.

    Args:
        send: for all of it, which waits while the client takes nothing.
        cycle: the server's own, where it is one that can be written to at once.
    """

    def __init__(self, send: Send, cycle: RequestResponseCycle | None = None):
        self._send = send
        self._cycle = cycle

    async def __call__(self, message: Message) -> None:
        """Send a message (ASGI)."""
        await self._send(message)

    @property
    def open(self) -> bool:
        """Whether ``push`` may be called: a body has begun that is sent in chunks, and the client takes it."""
        cycle = self._cycle
        return (
            cycle is not None
            and cycle.chunked_encoding is True
            and not (cycle.flow.write_paused or cycle.disconnected or cycle.response_complete)
            and not cycle.transport.is_closing()
        )

    def push(self, body: bytes) -> None:
        """Write a piece that is not the last, at once."""
        assert self._cycle is not None, "it is not open"
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(body), body))


@contextmanager
def direct_offered(scope: Scope, way: ShortWay) -> Iterator[None]:
    """Have a request's handler find the server's own way out, before anything wraps its ``send``.

    It is gone with the context: the server's side of a request has its scope, and in a circle both would wait for
    Python's collector, which holds up every stream.
    """
    extensions = scope.setdefault("extensions", {})
    extensions[_EXTENSION] = way
    try:
        yield
    finally:
        del extensions[_EXTENSION]


def direct(scope: Scope, send: Send) -> ShortWay:
    """The server's own, or ``send`` where there is none."""
    found: ShortWay | None = scope.get("extensions", {}).get(_EXTENSION)
    return ShortWay(send) if found is None else found
