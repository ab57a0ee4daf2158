"""One pub/sub channel, read for as long as the process lives: reconnects by itself when Redis goes and comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import redis.asyncio as aioredis
import structlog
from redis.asyncio.client import PubSub

from tessera.errors import QueueUnavailable
from tessera.queue.connection import REDIS_UNAVAILABLE, open_channel
from tessera.queue.subscription import Subscription
from tessera.telemetry.outage import Outage

log = structlog.get_logger()

LONGEST_BACKOFF_S = 1.0
# A connection that brings nothing for so long is asked for a sign of life, and closed after as long again: a host
# that vanished closes nothing.
HEARTBEAT_S = 5.0


async def listen(
    redis: aioredis.Redis,
    channel: str,
    on_message: Callable[[bytes], None],
    on_subscribed: Callable[[], Awaitable[None]],
) -> None:
    """Call ``on_message`` with the content of each message. Runs until it is cancelled.

    Args:
        on_subscribed: awaited after each (re)connection, before the first message: what was published
            meanwhile is lost, and this is the place to catch up. Where it raises, the channel is opened again.
    """
    backoff_s = 0.05
    outage = Outage("channel_lost", "channel_back", channel=channel)
    while True:
        pubsub: PubSub | None = None
        try:
            pubsub = await open_channel(redis)
            async with asyncio.timeout(HEARTBEAT_S):
                await pubsub.connect()  # type: ignore[no-untyped-call]
                assert pubsub.connection is not None, "it is connected"
                subscription = Subscription(pubsub.connection, on_message)
                await subscription.subscribe(channel)
            await on_subscribed()
            outage.works("listen")
            backoff_s = 0.05
            await subscription.hear(HEARTBEAT_S)
        except (QueueUnavailable, *REDIS_UNAVAILABLE) as error:
            outage.failed("listen", error)
        except Exception:
            # Whatever it was: without this channel nothing would be heard any more, and nobody would notice.
            log.exception("channel_failed", channel=channel, retry_s=backoff_s)
        finally:
            with suppress(*REDIS_UNAVAILABLE):
                if pubsub is not None:
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
