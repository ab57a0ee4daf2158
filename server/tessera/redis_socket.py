"""The sockets of redis-py's connections, without what it does around each command and each message."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

_INCOMPLETE = object()


class RedisSocket(asyncio.Protocol, ABC):
    """Takes the socket of a connection over that redis-py has opened, with all that it does for that.

    What redis-py does around each command and each message costs several times what they cost without it.

    Args:
        pooled: redis-py's own, of a client without ``decode_responses``; it hears of the end of its socket.
    """

    def __init__(self, pooled: AbstractConnection):
        self.pooled = pooled
        self._loop = asyncio.get_running_loop()
        to_error = pooled._parser.parse_error
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=to_error, notEnoughData=_INCOMPLETE)
        assert pooled._writer is not None, "it is connected"
        self._transport = cast("asyncio.Transport", pooled._writer.transport)
        self._before = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    def end(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answers, or parts of one."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _INCOMPLETE:
                self._take(answer)
        except InvalidResponse:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side."""
        self._lose(RedisConnectionError("The connection to Redis was closed."))
        self._before.connection_lost(exc)

    @abstractmethod
    def _take(self, answer: Any) -> None:
        """Whatever Redis says; its errors are exceptions. May raise ``InvalidResponse``."""

    @abstractmethod
    def _lose(self, error: RedisConnectionError) -> None:
        """There will be no more."""
