"""Replays a job into vLLM's application over ASGI, in process, and turns what comes out into reply entries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from tessera.errors import EngineBusy, MediaStoreUnavailable, QueueUnavailable, StreamNotResumed
from tessera.queue import Data, End, Failure, Head, Lease
from tessera.worker.answer import Answer, Document
from tessera.worker.answers import answer_of
from tessera.worker.continuation import Continuation, Mismatch
from tessera.worker.journal import Journal, Record
from tessera.worker.transcript import Transcript, current
from tessera.worker.writer import ReplyWriter

log = structlog.get_logger()

RETRY_S = 0.25
# Errors that say nothing of the request: a stream that was begun waits until they have passed.
PASSING = (MediaStoreUnavailable.code, EngineBusy.code)
# What the client is to know besides status, content type and body: whether and when to send the request again, and what
# the numbers of an answer in binary are.
PASSED_HEADERS = (b"retry-after", b"x-should-retry", b"metadata")


class EngineDead(Exception):
    """The engine died under the job: what the application says now is not the job's answer."""


class Replay:
    """One job on its way through the application.

    Args:
        journal: has what earlier workers wrote of the job, and what their engines gave for it.
        engine_dead: asked before anything is passed on.
        fingerprint: the engine's ``system_fingerprint``, where it has one.
        trace: headers of the trace that the engine's own spans belong to.
    """

    def __init__(
        self,
        app: ASGIApp,
        lease: Lease,
        writer: ReplyWriter,
        journal: Journal,
        engine_dead: Callable[[], bool],
        *,
        fingerprint: str | None = None,
        trace: Mapping[str, str] = MappingProxyType({}),
    ):
        self._app = app
        self._trace = trace
        self._lease = lease
        self._writer = writer
        self._journal = journal
        self._transcript: Transcript | None = None
        self._continuation: Continuation | None = None
        self._mismatch = ""
        self._engine_dead = engine_dead
        self._fingerprint = fingerprint
        self._gone = asyncio.Event()
        self._body_sent = False
        self._head: Head | None = None
        self._head_written = False
        self._answer: Answer | None = None
        self._complete = False

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
                while await self._recall():
                    await self._call()
                    if not self._put_off():
                        break
                    await self._pause()
            if self._mismatch or not self._gone.is_set():
                await self._writer.write(job_id, *self._last(), final=True)
        except (EngineDead, asyncio.CancelledError):
            self._writer.discard(job_id)
            raise
        except Exception:
            # It fails on this job, and would elsewhere.
            log.exception("job_failed", job=job_id)
            await self._writer.write(
                job_id, _gave_up("The worker failed on this request; its log says why."), final=True
            )
            return
        if self._gone.is_set() and not self._mismatch:
            self._writer.discard(job_id)

    async def _recall(self) -> bool:
        """Take up what earlier workers left. Returns whether the application is to be called."""
        try:
            record = await self._record()
        except Mismatch as mismatch:
            self._fail(mismatch)
            return False
        if record is None:
            return False
        self._transcript, self._continuation, self._head = record.transcript, record.continuation, record.head
        self._head_written = record.head is not None
        if self._continuation is not None:
            log.info("stream_resumed", job=self._lease.job.id, attempts=self._lease.attempts)
        return True

    async def _record(self) -> Record | None:
        """The job's record, once Redis has it for us; None where nobody waits for the answer any more."""
        while not self._gone.is_set():
            try:
                return await self._journal.open(self._lease)
            except QueueUnavailable:
                # Given back, the job would count one more death, for which neither it nor an engine is to blame.
                await self._pause()
        return None

    def _put_off(self) -> bool:
        """Whether a stream that was begun cannot go on just now: the media store is away, or the engine is full."""
        if self._continuation is None or self._gone.is_set() or not isinstance(self._answer, Document):
            return False
        self._answer.rest()
        error = self._answer.error
        if error is None or error.code not in PASSING:
            self._fail(Mismatch(f"the application gave no stream: {error.code if error else 'a document'}"))
            return False
        self._answer, self._body_sent, self._complete = None, False, False
        return True

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), RETRY_S)

    def _fail(self, mismatch: Mismatch) -> None:
        log.warning("stream_not_resumed", job=self._lease.job.id, reason=str(mismatch))
        self._mismatch = str(mismatch)
        self.abort()

    async def _call(self) -> None:
        current.set(self._transcript)
        try:
            await self._app(self._scope(), self._receive, self._send)
        except Exception:
            if not self._engine_dead():
                log.exception("application_failed", job=self._lease.job.id, path=self._lease.job.path)
        if self._engine_dead() and not self._complete:
            raise EngineDead

    def _last(self) -> list[bytes]:
        if not self._mismatch:
            try:
                return self._end()
            except Mismatch as mismatch:
                self._fail(mismatch)
        return [
            Failure(StreamNotResumed.code, "The worker died, and another could not go on with its answer.").encode()
        ]

    def _end(self) -> list[bytes]:
        answer = self._answer
        if answer is None or not self._complete:
            return [_gave_up("The model's application failed on this request; its worker logged why.")]
        rest, error = answer.rest(), answer.error
        end = End(answer.usage)
        if self._continuation is not None:
            rest = self._continuation.rest(rest)
            end = replace(end, resumed=True, attempts=self._lease.attempts)
        if error is not None:
            if error.status >= 500:
                log.warning("engine_failed", job=self._lease.job.id, status=error.status, code=error.code)
            end = replace(end, error=(error.status, error.code))
        if answer.begun:
            return [*self._head_once(), *([Data.stored(rest)] if rest else []), end.encode()]
        if error is None:
            return [_gave_up("The model's engine ended its answer before it began.")]
        assert self._head is not None, "ASGI: a body before its start"
        headers = {name.lower(): value for name, value in error.headers().items()} | self._head.headers
        self._head = replace(self._head, status=error.status, content_type="application/json", headers=headers)
        return [*self._head_once(), Data.stored(orjson.dumps(error.body())), end.encode()]

    def _scope(self) -> Scope:
        job = self._lease.job
        headers = [
            (b"host", b"tessera"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(job.body)).encode()),
            (b"x-request-id", job.id.encode()),
            *((name.encode(), value.encode("latin-1", "replace")) for name, value in self._trace.items()),
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
            "state": {"adapter": job.adapter} if job.adapter else {},
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
        job = self._lease.job
        streamed = status < 400 and content_type.startswith("text/event-stream")
        if self._continuation is None:
            self._head = Head(status, content_type, self._lease.wait_ms, self._lease.attempts, passed)
        self._answer = answer_of(status, job, self._fingerprint, streamed=streamed)

    async def _body(self, body: bytes) -> None:
        assert self._answer is not None, "ASGI: a body before its start"
        passed = self._answer.feed(body)
        if self._continuation is not None and not self._mismatch:
            try:
                passed = self._continuation.feed(passed)
            except Mismatch as mismatch:
                self._fail(mismatch)
        if passed and not self._mismatch:
            steps = b"" if self._transcript is None else self._transcript.drain()
            await self._writer.write(self._lease.job.id, *self._head_once(), Data.stored(passed), steps=steps)

    def _head_once(self) -> list[bytes]:
        # Together with the first bytes, so that a log that exists means an answer that has begun.
        if self._head_written or self._head is None:
            return []
        self._head_written = True
        return [self._head.encode()]


def _gave_up(why: str) -> bytes:
    return Failure("internal_error", why).encode()
