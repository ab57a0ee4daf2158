"""Connections to Redis, with the time limits and retries that every part of the server relies on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tessera.errors import QueueUnavailable
from tessera.settings import Settings

# What a Redis that is down, loading, failing over or full says. ``BusyLoadingError`` is a connection error.
REDIS_UNAVAILABLE = (
    RedisConnectionError,
    RedisTimeoutError,
    OutOfMemoryError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    OSError,
)

# More than that only queue up in one Redis, which has a single thread, and a burst would open thousands.
MOST_CONNECTIONS = 64


class _Cancellable(AbstractConnection):
    """Sends under ``asyncio.timeout`` where redis-py uses ``wait_for``.

    Before Python 3.12 ``wait_for`` swallows a cancellation that comes in the turn in which it ends, here in one turn of
    each command: tasks that were cancelled once would go on for ever. It also costs a task for each command.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout writing to socket") from error
        finally:
            self.socket_timeout = limit_s


def connect(settings: Settings, *, name: str, blocking_s: float = 0.0, url: str = "") -> aioredis.Redis:
    """A client with its own pool; connects at the first command.

    Args:
        name: shown by ``CLIENT LIST``, so that an operator sees who is connected.
        blocking_s: longest blocking command that will be sent, added to the time limit.
        url: another Redis than ``TESSERA_REDIS_URL``, where there is one.
    """
    pool = aioredis.BlockingConnectionPool.from_url(
        url or settings.redis_url,
        max_connections=MOST_CONNECTIONS,
        timeout=settings.redis_timeout_s,
        client_name=f"tessera-{name}",
        socket_timeout=settings.redis_timeout_s + blocking_s,
        socket_connect_timeout=settings.redis_timeout_s,
        health_check_interval=0,
        # One immediate retry: a pooled connection may have died with a restarted Redis. Every verb can be repeated.
        # Not after a timeout, which is the longest that anyone is to wait.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        protocol=2,
    )
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_Cancellable, kind), {})
    return aioredis.Redis.from_pool(pool)


@asynccontextmanager
async def reach(settings: Settings) -> AsyncIterator[None]:
    """Give the calls of the context ``TESSERA_REDIS_TIMEOUT_S`` in all.

    Raises:
        QueueUnavailable: Redis cannot be reached in that time.
    """
    try:
        # The client's own limits count each attempt to connect and to read for itself.
        async with asyncio.timeout(settings.redis_timeout_s):
            yield
    except REDIS_UNAVAILABLE as error:
        message = "The request queue cannot be reached at the moment. Retry in a few seconds."
        raise QueueUnavailable(message, retry_after_s=5) from error
