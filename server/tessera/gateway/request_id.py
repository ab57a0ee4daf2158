"""One id for each request: in the headers of its answer, in every line that is logged of it, and in its job's id."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

HEADER = b"x-request-id"
# The id by which a request can be asked for, picked up and cancelled: that of its job, which nobody can guess.
JOB_HEADER = b"x-tessera-request-id"
# Characters of a client's own id that are kept.
LONGEST = 128

_UNCLEAN = re.compile(r"[^A-Za-z0-9._:-]")


def new_request_id() -> str:
    """A fresh id: 64 random bits in hexadecimal."""
    return secrets.token_hex(8)


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's own id, cut off and cleaned for headers, logs and keys, or a fresh one."""
    for name, value in headers:
        if name == HEADER and value:
            return _UNCLEAN.sub("_", value[:LONGEST].decode("latin-1"))
    return new_request_id()


def tell(scope: Scope, name: bytes, value: str) -> None:
    """Put a header on the request's answer, whatever that will be."""
    scope["state"]["headers"].append((name, value.encode()))


class RequestIds:
    """ASGI middleware that puts the id into ``scope["state"]["request_id"]``, into the log and on the answer.

    It also puts on the answer what is found in ``scope["state"]["headers"]`` by then (see ``tell``).
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        headers = [(HEADER, request_id.encode())]
        scope.setdefault("state", {}).update(request_id=request_id, headers=headers)
        # Every request has a task of its own, and with it a context of its own.
        bind_contextvars(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._app(scope, receive, send_with_id)
