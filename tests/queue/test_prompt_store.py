"""What is announced of a tokenizer is there once, as long as somebody announces it, and back after it was lost."""

from __future__ import annotations

import hashlib

import pytest
import redis.asyncio as aioredis

from tessera.queue import PromptStore
from tessera.queue.keys import Keys
from tessera.settings import Settings

PACKED = b"tokenizer" * 1000
DIGEST = hashlib.sha256(PACKED).hexdigest()


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.redis_prefix)


async def test_it_is_sent_once_and_kept_alive(redis_client: aioredis.Redis, keys: Keys) -> None:
    store = PromptStore(redis_client, keys)
    assert await store.get(DIGEST) is None
    await store.announce(DIGEST, PACKED, ttl_s=50)
    await store.announce(DIGEST, b"not sent again", ttl_s=99.5)
    assert await store.get(DIGEST) == PACKED
    assert 99 <= await redis_client.ttl(keys.prompts(DIGEST)) <= 100
    await redis_client.delete(keys.prompts(DIGEST))
    await store.announce(DIGEST, PACKED, ttl_s=50)
    assert await store.get(DIGEST) == PACKED


async def test_what_was_damaged_is_not_there(redis_client: aioredis.Redis, keys: Keys) -> None:
    await redis_client.set(keys.prompts(DIGEST), PACKED[1:])
    assert await PromptStore(redis_client, keys).get(DIGEST) is None
