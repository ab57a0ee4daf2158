"""A connection to Redis that hears a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tessera.redis_socket import RedisSocket


class Subscription(RedisSocket):
    """Hears what is published, from ``subscribe`` on; what comes before ``hear`` waits for it.

    Args:
        on_message: called with the content of each message; what it raises ends the connection.
    """

    def __init__(self, pooled: AbstractConnection, on_message: Callable[[bytes], None]):
        super().__init__(pooled)
        self._on_message = on_message
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._waiting: list[bytes] | None = []
        self._heard = False

    async def subscribe(self, channel: str) -> None:
        """Have Redis send what is published on a channel. Raises redis-py's errors."""
        self._say("SUBSCRIBE", channel)
        await asyncio.wait([self._subscribed, self._over], return_when=asyncio.FIRST_COMPLETED)
        if self._over.done():
            self._over.result()

    async def hear(self, heartbeat_s: float) -> None:
        """Pass messages on until the connection ends. Raises what it has ended with.

        Args:
            heartbeat_s: silence after which Redis is asked for a sign of life, and is given as long for it.
        """
        waiting, self._waiting = self._waiting or [], None
        for message in waiting:
            self._on_message(message)
        self._transport.resume_reading()
        asked = False
        while not self._over.done():
            self._heard = False
            await asyncio.wait([self._over], timeout=heartbeat_s)
            if self._heard:
                asked = False
            elif asked:
                raise RedisTimeoutError(f"no sign of life in {2 * heartbeat_s} s")
            else:
                self._say("PING")
                asked = True
        self._over.result()

    def _say(self, *parts: Any) -> None:
        self._transport.write(hiredis.pack_command(parts))

    def _take(self, answer: Any) -> None:
        self._heard = True
        try:
            self._pass_on(answer)
        except Exception as error:
            self._end_with(error)
            self.end()

    def _pass_on(self, answer: Any) -> None:
        match answer:
            case Exception():
                raise answer
            case [b"message", _, content]:
                keep = self._on_message if self._waiting is None else self._waiting.append
                keep(content)
            case [b"subscribe", *_]:
                self._subscribed.set_result(None)
                self._transport.pause_reading()

    def _lose(self, error: RedisConnectionError) -> None:
        self._end_with(error)

    def _end_with(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)
            self._over.exception()  # whoever has left needs not hear of it
