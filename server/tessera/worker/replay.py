"""Replays a job into vLLM's application over ASGI, in process, and turns what comes out into reply entries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from tessera.queue import Data, End, Failure, Head, Lease
from tessera.worker.writer import ReplyWriter

log = structlog.get_logger()

# What the client is to know besides status, content type and body: whether and when to send the request again.
PASSED_HEADERS = (b"retry-after", b"x-should-retry")

_DONE = b"data: [DONE]\n\n"


class EngineDead(Exception):
    """The engine died under the job: what the application says now is not the job's answer."""


class Replay:
    """One job on its way through the application.

    Args:
        engine_dead: asked before anything is passed on.
    """

    def __init__(self, app: ASGIApp, lease: Lease, writer: ReplyWriter, engine_dead: Callable[[], bool]):
        self._app = app
        self._lease = lease
        self._writer = writer
        self._engine_dead = engine_dead
        self._gone = asyncio.Event()
        self._body_sent = False
        self._head: Head | None = None
        self._head_written = False
        self._complete = False
        self._held: list[bytes] = []
        self._streamed = False
        self._usage: dict[str, Any] = {}

    def abort(self) -> None:
        """Nobody waits for the answer any more: vLLM drops the request, as when a client disconnects."""
        self._gone.set()

    async def run(self) -> None:
        """Run the job to its end, or until ``abort``.

        Raises:
            EngineDead: the engine died meanwhile; the job is not answered.
        """
        job_id = self._lease.job.id
        self._writer.open(self._lease)
        try:
            with suppress(ClientDisconnect):
                await self._call()
            if not self._gone.is_set():
                await self._writer.write(job_id, *self._last(), final=True)
        except BaseException:
            self._writer.discard(job_id)
            raise
        if self._gone.is_set():
            self._writer.discard(job_id)

    async def _call(self) -> None:
        try:
            await self._app(self._scope(), self._receive, self._send)
        except Exception:
            if not self._engine_dead():
                log.exception("application_failed", job=self._lease.job.id, path=self._lease.job.path)
        if self._engine_dead() and not self._complete:
            raise EngineDead

    def _last(self) -> list[bytes]:
        if not self._complete:
            why = "The model's application failed on this request; its worker logged why."
            return [Failure("internal_error", why).encode()]
        held = b"".join(self._held)
        usage = self._usage if self._streamed else _usage_of(held)
        return [*self._head_once(), *([Data(held).encode()] if held else []), End(usage).encode()]

    def _scope(self) -> Scope:
        job = self._lease.job
        headers = [
            (b"host", b"tessera"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(job.body)).encode()),
            (b"x-request-id", job.id.encode()),
        ]
        return {
            "type": "http",
            # From 2.4 on Starlette would notice a disconnect only at the next token.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": job.path,
            "raw_path": job.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": ("tessera", 80),
            "state": {},
        }

    async def _receive(self) -> Message:
        if not self._body_sent:
            self._body_sent = True
            return {"type": "http.request", "body": self._lease.job.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._engine_dead():
            raise EngineDead
        if message["type"] == "http.response.start":
            self._start(message["status"], dict(message["headers"]))
        else:
            if body := message.get("body"):
                await self._body(body)
            self._complete = not message.get("more_body", False)

    def _start(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
        passed = {name.decode(): headers[name].decode("latin-1") for name in PASSED_HEADERS if name in headers}
        self._head = Head(status, content_type, self._lease.wait_ms, self._lease.attempts, passed)
        self._streamed = content_type.startswith("text/event-stream")

    async def _body(self, body: bytes) -> None:
        assert self._head is not None, "ASGI: a body before its start"
        if not self._streamed or body == _DONE:
            # Written with the end: a client that has the last byte may leave, and must not seem to leave too early.
            self._held.append(body)
            return
        if _is_usage_event(body):
            self._usage = _usage_of(body[len(b"data: ") :])
            if self._lease.job.hide_usage:
                return
        await self._writer.write(self._lease.job.id, *self._head_once(), Data(body).encode())

    def _head_once(self) -> list[bytes]:
        # Together with the first bytes, so that a log that exists means an answer that has begun.
        if self._head_written or self._head is None:
            return []
        self._head_written = True
        return [self._head.encode()]


def _is_usage_event(body: bytes) -> bool:
    """Whether an SSE event is the one that ``stream_options.include_usage`` adds at the end."""
    return body.startswith(b"data: {") and b'"choices":[]' in body


def _usage_of(document: bytes) -> dict[str, Any]:
    try:
        usage = orjson.loads(document).get("usage")
    except (orjson.JSONDecodeError, AttributeError):
        return {}
    return usage if isinstance(usage, dict) else {}
