"""Connections to Redis, with the time limits and retries that every part of the server relies on."""

from __future__ import annotations

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tessera.settings import Settings

# What a Redis that is down, loading, failing over or full says. ``BusyLoadingError`` is a connection error.
REDIS_UNAVAILABLE = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, OSError)


def connect(settings: Settings, *, name: str, blocking_s: float = 0.0) -> aioredis.Redis:
    """A client with its own pool; connects at the first command.

    Args:
        name: shown by ``CLIENT LIST``, so that an operator sees who is connected.
        blocking_s: longest blocking command that will be sent, added to the time limit.
    """
    # One immediate retry: a pooled connection may have died with a restarted Redis. Every verb can be repeated.
    return aioredis.Redis.from_url(  # type: ignore[no-any-return, no-untyped-call, unused-ignore]
        settings.redis_url,
        client_name=f"tessera-{name}",
        socket_timeout=settings.redis_timeout_s + blocking_s,
        socket_connect_timeout=settings.redis_timeout_s,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 1),
        protocol=2,
    )
