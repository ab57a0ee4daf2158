"""Answers to clients of HTTP/1.0, which know no chunks: a body of unknown length ends with its connection."""

from __future__ import annotations

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def unchunked(cycle: RequestResponseCycle) -> Send:
    """In place of ``cycle.send``, which would send a body of unknown length in chunks."""
    # HTTP/1.0 has no `100 Continue` either.
    cycle.waiting_for_100_continue = False
    until_end = False

    async def send(message: Message) -> None:
        nonlocal until_end
        if message["type"] == "http.response.start":
            known = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            until_end = not known and cycle.scope["method"] != "HEAD"
            if until_end:
                cycle.chunked_encoding = False  # decided: no chunks, and of what length nobody knows
        elif until_end and (body := message.get("body")):
            await cycle.send({"type": "http.response.body", "body": b"", "more_body": True})  # waits for its turn
            if not cycle.disconnected:
                cycle.transport.write(body)
            message = {**message, "body": b""}
        await cycle.send(message)  # type: ignore[arg-type]

    return send
