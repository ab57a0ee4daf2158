"""All open connections of a server: how many there may be, and which of them wait for a request."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import structlog

from tessera.errors import TesseraError
from tessera.telemetry import http

log = structlog.get_logger()

SWEEP_EVERY_S = 1.0
TELL_EVERY_S = 10.0
# A connection that was just made or answered most likely has a request on its way, and is not closed for a new one.
GRACE_S = 1.0
# Refused connections that are kept until their clients have read why; each holds a file descriptor.
MOST_LINGERING = 64


class Connection(Protocol):
    """What is asked of a connection."""

    def enforce_deadline(self, now: float) -> None:
        """End what takes too long; ``now`` is the event loop's time."""
        ...

    def stop(self, error: TesseraError) -> None:
        """Answer the request with an error, where its answer has not begun."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Connections:
    """The connections of one server.

    Args:
        most: connections above which those that have waited longest for a request are closed, and where none has waited
            for long, new ones are refused.

    Attributes:
        ending: the server is about to stop; connections close after the request that they have.
    """

    def __init__(self, most: int):
        self.ending = False
        self._most = most
        self._open: set[Connection] = set()
        self._lingering: set[Connection] = set()
        # Those that wait for a request, and since when, in that order.
        self._waiting: dict[Connection, float] = {}
        self._told = -TELL_EVERY_S
        self._evicted = self._refused = 0

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in. Returns False where there is no room for it."""
        if len(self._open) >= self._most and not self._evict():
            self._refused += 1
            self._tell()
            return False
        self._open.add(connection)
        self._waiting[connection] = time.monotonic()
        http.connections_open.set(len(self._open))
        return True

    def linger(self, connection: Connection) -> bool:
        """Keep a refused connection until its client has read why. Returns False where there are too many already."""
        if len(self._lingering) >= MOST_LINGERING:
            return False
        self._lingering.add(connection)
        return True

    def wait(self, connection: Connection) -> None:
        """It waits for its next request from now on."""
        self._waiting[connection] = time.monotonic()

    def work(self, connection: Connection) -> None:
        """It has a request."""
        self._waiting.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._lingering.discard(connection)
        self._waiting.pop(connection, None)
        http.connections_open.set(len(self._open))

    def stop(self, error: TesseraError) -> None:
        """Answer all requests whose answers have not begun with an error."""
        for connection in list(self._open):
            connection.stop(error)

    def abort(self) -> None:
        """Close all at once."""
        for connection in [*self._open, *self._lingering]:
            connection.abort()

    async def run(self, every_s: float = SWEEP_EVERY_S) -> None:
        """Enforce deadlines until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_s)
            now = loop.time()
            for connection in [*self._open, *self._lingering]:
                connection.enforce_deadline(now)
            self._tell()

    def _evict(self) -> bool:
        connection, since = next(iter(self._waiting.items()), (None, 0.0))
        if connection is None or time.monotonic() - since < GRACE_S:
            return False
        self.forget(connection)
        connection.abort()
        http.connections_evicted.inc()
        self._evicted += 1
        self._tell()
        return True

    def _tell(self) -> None:
        now = time.monotonic()
        if (self._evicted or self._refused) and now - self._told >= TELL_EVERY_S:
            log.warning(
                "connection_limit_reached", limit=self._most, closed_waiting=self._evicted, refused=self._refused
            )
            self._told = now
            self._evicted = self._refused = 0
