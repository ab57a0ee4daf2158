"""A connection to Redis on which commands follow each other without waiting for each other's answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from tessera.redis_errors import is_replica
from tessera.redis_socket import RedisSocket

Command = Sequence[Any]

# A part of a command that is longer is sent as it is, rather than copied.
COPIED_BYTES = 64 * 1024


class _Sent(NamedTuple):
    """A command whose answer has not come.

    Attributes:
        answer: None: nobody needs it.
        until: the event loop's time at which it should have.
    """

    answer: asyncio.Future[Any] | None
    until: float


class PipelinedConnection(RedisSocket):
    """Sends commands; one that is cancelled has been sent all the same, and its answer is dropped."""

    def __init__(self, pooled: AbstractConnection):
        super().__init__(pooled)
        self._sent: deque[_Sent] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def command(self, parts: Command, behind: Sequence[Command], limit_s: float) -> Any:
        """Run a command behind others, whose answers nobody needs.

        Args:
            limit_s: longest wait for the answer, after which the connection is given up.

        Raises:
            redis.exceptions.RedisError: it fails, or the connection does.
        """
        while not self._writable.is_set():  # others may have written first
            await self._writable.wait()
        if self.ended:
            raise RedisConnectionError("The connection to Redis is closed.")
        answer: asyncio.Future[Any] = self._loop.create_future()
        until = self._loop.time() + limit_s
        for each in behind:
            self._transport.writelines(self._packed(each))
            self._sent.append(_Sent(None, until))
        self._transport.writelines(self._packed(parts))
        self._sent.append(_Sent(answer, until))
        if self._alarm is None:
            self._alarm = self._loop.call_at(until, self._check)
        return await answer

    def pause_writing(self) -> None:
        """Redis does not read as fast as it is written to."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def _take(self, answer: Any) -> None:
        if not self._sent:
            raise InvalidResponse("an answer to nothing")
        waiting = self._sent.popleft().answer
        if waiting is None:
            return
        failed = isinstance(answer, Exception)
        if failed and (isinstance(answer, RedisConnectionError) or is_replica(answer)):
            # It is starting, or a replica now: the next connection is to whoever took over.
            self.end()
        if waiting.done():
            return
        if failed:
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _lose(self, error: RedisConnectionError) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._fail(error)
        self._writable.set()

    def _check(self) -> None:
        """Give up where the first command has waited for too long."""
        self._alarm = None
        if not self._sent:
            return
        if (until := self._sent[0].until) > self._loop.time():
            self._alarm = self._loop.call_at(until, self._check)
            return
        self._fail(RedisTimeoutError("Redis has not answered in time."))
        self.end()

    def _fail(self, error: Exception) -> None:
        sent, self._sent = self._sent, deque()
        for waiting, _ in sent:
            if waiting is not None and not waiting.done():
                waiting.set_exception(type(error)(*error.args))

    def _packed(self, parts: Command) -> Sequence[bytes]:
        if any(isinstance(part, bytes | memoryview) and len(part) > COPIED_BYTES for part in parts):
            return self.pooled.pack_command(*parts)
        return (hiredis.pack_command(tuple(parts)),)
