"""Connections to Redis, with the time limits and retries that every part of the server relies on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio as aioredis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tessera.errors import QueueUnavailable
from tessera.queue.address import Address
from tessera.queue.cluster import ClusterClient
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
# Of the time limit of a command: whoever has to ask several, Sentinels or nodes of a Cluster, spends no more on one.
_SHARE = 0.25


class _Cancellable(AbstractConnection):
    """Sends under ``asyncio.timeout`` where redis-py uses ``wait_for``.

    Before Python 3.12 ``wait_for`` swallows a cancellation that comes in the turn in which it ends, here in one turn of
    each command: tasks that were cancelled once would go on for ever. It also costs a task for each command.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            if isinstance(self, SentinelManagedConnection):
                # Asks the Sentinels, since another server may have taken over.
                await self.connect()  # type: ignore[no-untyped-call]
            else:
                await self.connect_check_health(check_health=False)
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout writing to socket") from error
        finally:
            self.socket_timeout = limit_s


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Waits for a connection, as the pool of a single Redis does, and takes its Sentinels with it."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def connect(settings: Settings, *, name: str, blocking_s: float = 0.0, url: str = "") -> aioredis.Redis:
    """A client with its own connections; it connects at the first command.

    That of a Cluster is a ``ClusterClient``, which has the same methods.

    Args:
        name: shown by ``CLIENT LIST``, so that an operator sees who is connected.
        blocking_s: longest blocking command that will be sent, added to the time limit.
        url: another Redis than ``TESSERA_REDIS_URL``, where there is one.

    Raises:
        ValueError: that cannot be an address.
    """
    address = Address.parse(url or settings.redis_url, settings)
    limit_s = settings.redis_timeout_s
    options: dict[str, Any] = {
        "client_name": f"tessera-{name}",
        "socket_timeout": limit_s + blocking_s,
        "socket_connect_timeout": limit_s,
        "health_check_interval": 0,
        # One immediate retry: a pooled connection may have died with a restarted Redis. Every verb can be repeated.
        # Not after a timeout, which is the longest that anyone is to wait.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "protocol": 2,
        # What redis-py tells Redis of itself it reads from its package's files, for each connection anew: a third of a
        # millisecond in the event loop, and more when a burst of requests needs several.
        "driver_info": None,
        **address.options,
    }
    pooled: dict[str, Any] = {"max_connections": MOST_CONNECTIONS, "timeout": limit_s}
    if address.kind == "cluster":
        options |= {"socket_connect_timeout": limit_s * _SHARE, "ssl": address.tls}
        kind = _cancellable(SSLConnection if address.tls else Connection)
        own: dict[str, Any] = {"connection_class": kind, "most": MOST_CONNECTIONS, "patience_s": limit_s / 2}
        return cast("aioredis.Redis", ClusterClient(address.hosts, **own, **options))
    if address.kind == "sentinel":
        kind = _cancellable(SentinelManagedSSLConnection if address.tls else SentinelManagedConnection)
        sentinels = _sentinels(address, settings)
        kind_of_pool: Any = _SentinelPool  # redis-py says nothing of types here
        pool = kind_of_pool(address.service, sentinels, connection_class=kind, **pooled, **options)
        return aioredis.Redis.from_pool(pool)
    kind = _cancellable(options.pop("connection_class", Connection))
    return aioredis.Redis.from_pool(BlockingConnectionPool(connection_class=kind, **pooled, **options))


async def open_channel(redis: aioredis.Redis) -> PubSub:
    """For messages, on a connection of its own."""
    return await redis.channel() if isinstance(redis, ClusterClient) else redis.pubsub()


async def infos(redis: aioredis.Redis) -> list[dict[str, Any]]:
    """What a Redis says of itself; of a Cluster, what each of its primaries does."""
    return await redis.infos() if isinstance(redis, ClusterClient) else [await redis.info()]


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
        raise unreachable() from error


def unreachable() -> QueueUnavailable:
    """The error where Redis cannot be reached, or do its work."""
    message = "The request queue cannot be reached at the moment. Retry in a few seconds."
    return QueueUnavailable(message, retry_after_s=5)


def _cancellable(kind: type[Any]) -> type[Any]:
    return type(kind.__name__, (_Cancellable, kind), {})


def _sentinels(address: Address, settings: Settings) -> Sentinel:
    limit_s = settings.redis_timeout_s * _SHARE
    options: dict[str, Any] = {"socket_timeout": limit_s, "socket_connect_timeout": limit_s, "protocol": 2}
    options["retry"] = Retry(NoBackoff(), 0)  # the next one is asked instead
    options |= {
        "username": settings.redis_sentinel_username or None,
        "password": settings.redis_sentinel_password or None,
    }
    if address.tls:
        options |= {"ssl": True, **{name: v for name, v in address.options.items() if name.startswith("ssl_")}}
    return Sentinel(address.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
