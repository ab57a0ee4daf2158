"""Requests to an application that it gets in other words, and answers that are put in other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON, TEXT = "application/json", "text/plain; charset=utf-8"


def is_json(scope: Scope) -> bool:
    """Whether a request says that it is."""
    return any(name == b"content-type" and value.startswith(JSON.encode()) for name, value in scope["headers"])


async def json_of(scope: Scope, receive: Receive) -> dict[str, Any]:
    """The body of a request that a gateway has checked."""
    asked: dict[str, Any] = orjson.loads(await Request(scope, receive).body())
    return asked


async def ask(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, body: bytes, *, content_type: str, path: str
) -> None:
    """Call an application with another body, whose own was read; whatever comes after that goes through."""
    replaced = (b"content-type", b"content-length")
    headers = [
        *((name, value) for name, value in scope["headers"] if name not in replaced),
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    sent = False

    async def receive_body() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    await app({**scope, "headers": headers, "path": path, "raw_path": path.encode()}, receive_body, send)


class Remade:
    """ASGI's ``send``, which makes another document of one in JSON where that is no error.

    Args:
        make: gets what the application answers.
        content_type: of what it makes.
    """

    def __init__(self, send: Send, make: Callable[[dict[str, Any]], bytes], content_type: str):
        self._send = send
        self._make = make
        self._content_type = content_type.encode()
        self._start: Message = {}
        self._document = bytearray()

    async def __call__(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._document += message.get("body", b"")
        if message.get("more_body"):
            return
        body, start = bytes(self._document), self._start
        if start["status"] < 400:
            body = self._make(orjson.loads(body))
            length = str(len(body)).encode()
            start = {**start, "headers": [(b"content-type", self._content_type), (b"content-length", length)]}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
