"""One pub/sub channel, read for as long as the process lives: reconnects by itself when Redis goes and comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import redis.asyncio as aioredis
import structlog

from tessera.queue.connection import REDIS_UNAVAILABLE

log = structlog.get_logger()

LONGEST_BACKOFF_S = 1.0


async def listen(
    redis: aioredis.Redis,
    channel: str,
    on_message: Callable[[bytes], None],
    on_subscribed: Callable[[], Awaitable[None]],
) -> None:
    """Call ``on_message`` with the content of each message. Runs until it is cancelled.

    Args:
        on_subscribed: awaited after each (re)connection, before the first message: what was published
            meanwhile is lost, and this is the place to catch up.
    """
    backoff_s = 0.05
    while True:
        pubsub = redis.pubsub()
        try:
            await pubsub.subscribe(channel)
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    await on_subscribed()
                    backoff_s = 0.05
                elif message["type"] == "message":
                    on_message(message["data"])
        except REDIS_UNAVAILABLE as error:
            log.warning("channel_lost", channel=channel, error=str(error), retry_s=backoff_s)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
