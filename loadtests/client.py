"""A load client that leaves the cores to the server: requests built beforehand, written to raw sockets."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Self, cast

from loadtests.response import BadAnswer, Response

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer, times by ``time.perf_counter``.

    Attributes:
        ttft_s: from the request's write to the first event with text, in seconds.
        ended_s: when its last byte came.
        tokens: output tokens.
        events: SSE events with text.
        job_id: under which a gateway queued it; what an engine makes up if it was asked itself.
    """

    ttft_s: float
    ended_s: float
    tokens: int
    events: int
    job_id: str = ""


class Connection(asyncio.Protocol):
    """One keep-alive connection, for one request at a time. A context manager that closes it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._response = Response()
        self._first_s = 0.0
        self._done: asyncio.Future[float] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect.

        Raises:
            OSError: nobody listens, or nobody answers within ``CONNECT_TIMEOUT_S``.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes, tokens: int) -> Answer:
        """Send a request and wait for its whole answer. After an error the connection cannot be used any more.

        Args:
            request: head and body, as they go on the wire.
            tokens: output tokens that the answer must have.

        Raises:
            BadAnswer: anything but the whole stream came, or nothing within ``ANSWER_TIMEOUT_S``.
        """
        if self._transport is None or self._transport.is_closing():
            raise BadAnswer("connection closed before the request")
        self._response, self._first_s = Response(), 0.0
        self._done = asyncio.get_running_loop().create_future()
        began_s = time.perf_counter()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                ended_s = await self._done
        except TimeoutError:
            raise BadAnswer(f"no complete answer within {ANSWER_TIMEOUT_S:g} s") from None
        finally:
            self._done = None
        response = self._response
        events = response.check(tokens)
        return Answer(self._first_s - began_s, ended_s, tokens, events, response.job_id)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # uvloop's transports are no subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        now_s = time.perf_counter()
        if self._done is None or self._done.done():
            return
        response = self._response
        try:
            response.feed(data)
        except BadAnswer as error:
            self._done.set_exception(error)
            return
        if response.has_content and not self._first_s:
            self._first_s = now_s
        if response.complete:
            self._done.set_result(now_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if self._done is not None and not self._done.done():
            when = "in the middle of the answer" if self._response.begun else "before the answer"
            self._done.set_exception(BadAnswer(f"connection closed {when}"))
