"""HTTP/1 as uvicorn speaks it, with limits to what a connection may send and to how long it may take for it.

It builds on uvicorn's own classes, whose inside is no interface of theirs: ``pyproject.toml`` bounds the version, and
``tests/gateway/test_protocol.py`` says whether another one will do.
"""

from __future__ import annotations

import asyncio
import math
from enum import Enum
from functools import partial
from typing import Any

import httptools
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tessera.errors import ClientStalled, HeadTooLarge, InvalidHTTP, RequestTimeout, TesseraError, TooManyConnections
from tessera.gateway.connections import Connections
from tessera.gateway.direct import ShortWay, direct_offered
from tessera.gateway.lingering import Lingering
from tessera.gateway.refusal import refusal
from tessera.gateway.unchunked import unchunked
from tessera.gateway.upgrade import head_without_upgrade
from tessera.gateway.uptake import Uptake
from tessera.settings import Settings
from tessera.telemetry import http

log = structlog.get_logger()

# For a client that is still sending to read why it was refused.
LINGER_S = 2.0
# "Name: value" and the end of its line.
_HEADER_OVERHEAD = 4


class _Phase(Enum):
    """What the client is sending."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class GatewayProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        connections: those of the same server.
        options: what uvicorn gives each of its connections.
    """

    def __init__(self, settings: Settings, connections: Connections, **options: Any):
        super().__init__(**options)
        self._head_timeout_s = settings.head_timeout_s
        self._body_gap_timeout_s = settings.body_gap_timeout_s
        self._stall_s = settings.client_stall_s
        self._most_head_bytes = settings.max_head_bytes
        self._most_headers = settings.max_headers
        self._connections = connections
        self._phase = _Phase.NOTHING
        # The event loop's time at which the client has taken too long.
        self._deadline = math.inf
        # Received since the last piece of a body or the last end of a request: of a head, or of trailers.
        self._unparsed_bytes = 0
        # What comes is thrown away: the connection ends with the answer that it has, or gets.
        self._deaf = False
        self._answering: RequestResponseCycle | None = None
        self._fault: TesseraError | None = None
        self._offered_upgrade = False

    # --- For the server ------------------------------------------------------------------------------------

    def enforce_deadline(self, now: float) -> None:
        """End what takes too long."""
        if (stalled_s := self._uptake.stalled_s(now)) > self._stall_s:
            self._cut(stalled_s)
        elif now < self._deadline:
            return
        elif self.flow.read_paused or (self._busy and self._phase is not _Phase.BODY):
            # Not the client: there is enough to do before more is read.
            self._deadline = now + self._body_gap_timeout_s
        elif self._deaf:
            self.transport.abort()
        elif self._phase is _Phase.BODY:
            gap_s = self._body_gap_timeout_s
            self._fail(RequestTimeout(f"Nothing of the request's body has arrived for {gap_s:g} s."))
        elif self._phase is _Phase.HEAD:
            limit_s = self._head_timeout_s
            self._fail(RequestTimeout(f"The request's headers did not arrive in {limit_s:g} s."))
        else:
            self.transport.close()

    def stop(self, error: TesseraError) -> None:
        """Answer the request with an error, where its answer has not begun; the connection ends with it."""
        if self._answering is not None and self._busy and not self._answering.response_started:
            self._raise_in_application(self._answering, error)

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    # --- Transport -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._uptake = Uptake(transport)
        self._deadline = self.loop.time() + self._head_timeout_s
        if not self._connections.admit(self):
            self._refuse(TooManyConnections("The gateway has no room for more connections.", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._connections.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if self._deadline == math.inf and not self._busy:
            self._deadline = self.loop.time() + self._head_timeout_s
        self._unparsed_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            # Callbacks raise the limits' errors, which the parser wraps.
            cause = error.__context__
            self._fail(cause if isinstance(cause, TesseraError) else InvalidHTTP("This is no valid HTTP request."))
            return
        if self._unparsed_bytes > self._most_head_bytes:
            self._fail(self._head_too_large())

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            # The client offers another protocol (Java's sends `Upgrade: h2c` unasked), for whose words the parser takes
            # the body. Whoever does not speak it answers as if nothing had been offered.
            rest = data[offered.args[0] :]
            self._offered_upgrade = False
            self._feed(head_without_upgrade(self.parser, self.url, self.headers) + rest)

    # --- Parser --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._deadline = self.loop.time() + self._head_timeout_s

    def on_headers_complete(self) -> None:
        """The end of the head."""
        # What has come is more than the head where some of the body has come with it.
        if self._unparsed_bytes > self._most_head_bytes and self._head_bytes() > self._most_head_bytes:
            raise self._head_too_large()
        self._count_headers()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise InvalidHTTP("This server is no proxy.")
            self._offered_upgrade = True
            return
        super().on_headers_complete()
        if self._connections.ending:
            self.cycle.keep_alive = False
        self._connections.work(self)
        self._phase = _Phase.BODY
        self._deadline = self.loop.time() + self._body_gap_timeout_s

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        super().on_body(body)
        self._unparsed_bytes = 0
        # What is still on its way when the answer is out does not keep the connection for ever.
        if not self.cycle.response_complete:
            self._deadline = self.loop.time() + self._body_gap_timeout_s

    def on_message_complete(self) -> None:
        """The end of the request."""
        if self._offered_upgrade:
            return
        self._count_headers()  # trailers are among them
        super().on_message_complete()
        self._phase = _Phase.NOTHING
        self._unparsed_bytes = 0
        self._deadline = math.inf

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in self.headers)

    def _count_headers(self) -> None:
        if len(self.headers) > self._most_headers:
            raise self._head_too_large()

    def _head_too_large(self) -> HeadTooLarge:
        limits = f"{self._most_head_bytes:,} bytes and {self._most_headers} headers"
        return HeadTooLarge(f"The request's line and headers are larger than {limits}.")

    # --- Answers -------------------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        """A request is being answered."""
        return self._answering is not None and not self._answering.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, partial(self._answer, cycle, app))

    async def _answer(
        self, cycle: RequestResponseCycle, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async def receive_or_raise() -> Message:
            if self._fault is None:
                message = await receive()
            if self._fault is not None:
                raise self._fault
            return message

        try:
            send = unchunked(cycle) if scope["http_version"] == "1.0" else send
            with direct_offered(scope, ShortWay(send, cycle)):
                await app(scope, receive_or_raise, send)
        except asyncio.CancelledError:
            # By the server, which has cut the connection; to uvicorn it would be an error with a traceback.
            if not cycle.disconnected:
                raise

    def on_response_complete(self) -> None:
        """An answer is out."""
        super().on_response_complete()
        if self._busy or self._deaf:
            return  # the next request was there already, or there will be none
        self._connections.wait(self)
        if self._phase is _Phase.BODY:
            self._deadline = self.loop.time() + self._body_gap_timeout_s

    def _cut(self, stalled_s: float) -> None:
        """The client takes nothing of its answer: its request ends as if it had left."""
        http.connections_stalled.inc()
        # Of the request, and not of the connection, which may be a proxy's.
        asker = self._answering.scope["client"] if self._answering is not None else self.client
        client = asker and asker[0]
        log.warning("client_stalled", client=client, seconds=round(stalled_s), unsent_bytes=self._uptake.unsent_bytes)
        self._fault = ClientStalled(f"The client has taken nothing of its answer for {stalled_s:.0f} s.")
        self._uptake.cut()

    def _fail(self, error: TesseraError) -> None:
        """The client does what it must not do, or not in time: the connection ends."""
        self._deaf = True
        if self._answering is not None and self._busy:
            if self._phase is _Phase.BODY and self._answering is self.cycle:
                self._raise_in_application(self._answering, error)
            else:
                # Something is wrong with a further request; the one before it is answered.
                self._make_last(self._answering)
        elif self._phase is _Phase.BODY:
            self._linger()  # its client may have sent without reading the answer
        else:
            request_id = self._refuse(error)
            client = self.client and self.client[0]
            log.info("request_refused", request_id=request_id, status=error.status, code=error.code, client=client)

    def _raise_in_application(self, cycle: RequestResponseCycle, error: TesseraError) -> None:
        """Have the application answer with an error, as it does with its own."""
        self._make_last(cycle)
        self._fault = error
        cycle.message_event.set()

    def _make_last(self, cycle: RequestResponseCycle) -> None:
        """End the connection with the answer that is being given."""
        self.pipeline.clear()
        cycle.keep_alive = False
        cycle.transport = Lingering(self.transport, self._linger)  # type: ignore[assignment]

    def _refuse(self, error: TesseraError) -> str:
        """Answer in place of the application. Returns the answer's request id."""
        self._deaf = True
        self._connections.work(self)
        request_id, answer = refusal(error, self.server_state.default_headers)
        self.transport.write(answer)
        self._linger()
        return request_id

    def _linger(self) -> None:
        """Close, but for what the client may still be sending."""
        self._deaf = True
        self._deadline = self.loop.time() + LINGER_S
        if self.transport.can_write_eof() and self._connections.linger(self):
            self.transport.write_eof()
        else:
            self.transport.close()
