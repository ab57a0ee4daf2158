"""What a worker leaves behind when it is stopped on purpose: a model that nobody serves any more."""

from __future__ import annotations

from contextlib import suppress

from tessera.queue import REDIS_UNAVAILABLE, Directory, connect
from tessera.queue.keys import Keys
from tessera.settings import Settings


async def retire(settings: Settings) -> None:
    """Have requests for the model answered at once and not queued, unless another worker serves it."""
    redis = connect(settings, name="worker-retire")
    try:
        with suppress(*REDIS_UNAVAILABLE):
            await Directory(redis, Keys(settings.redis_prefix)).retire(settings.resolved_model_name())
    finally:
        await redis.aclose()
