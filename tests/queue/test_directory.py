from __future__ import annotations

import redis.asyncio as aioredis
from orjson import dumps

from tessera.queue import Directory, ModelCard
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tests.polling import eventually

CARD = ModelCard("org/ü model", "root", 4096, {"image": 2}, {"video_fps": 2.0}, 8, 1)


def directory(redis: aioredis.Redis, settings: Settings) -> Directory:
    return Directory(redis, Keys(settings.redis_prefix))


async def test_what_is_announced_is_read(redis_client: aioredis.Redis, settings: Settings) -> None:
    made = directory(redis_client, settings)
    assert await made.models() == []
    await made.announce("w1", CARD, ttl_s=60)
    await made.announce("w2", CARD, ttl_s=60)
    await made.announce("w3", ModelCard("a", "root", 1), ttl_s=60)
    found = await made.models()
    assert [(m.card.model, m.workers, m.last_seen_s) for m in found] == [("a", 1, 0.0), (CARD.model, 2, 0.0)]
    assert found[1].card == CARD


async def test_a_worker_that_is_silent_is_gone_but_its_model_is_remembered(
    redis_client: aioredis.Redis, settings: Settings
) -> None:
    made = directory(redis_client, settings)
    await made.announce("w1", CARD, ttl_s=0.05)

    async def gone() -> bool:
        [model] = await made.models()
        return model.workers == 0 and model.last_seen_s > 0

    await eventually(gone, "the announcement expires")
    await made.announce("w1", CARD, ttl_s=60)
    assert [m.workers for m in await made.models()] == [1]


async def test_withdrawing_and_retiring(redis_client: aioredis.Redis, settings: Settings) -> None:
    made = directory(redis_client, settings)
    await made.announce("w1", CARD, ttl_s=60)
    await made.announce("w2", CARD, ttl_s=60)
    await made.withdraw("w1")
    await made.retire(CARD.model)  # another worker still serves it
    assert [m.workers for m in await made.models()] == [1]
    await made.withdraw("w2")
    assert [m.workers for m in await made.models()] == [0]
    await made.retire(CARD.model)
    assert await made.models() == []


def test_a_card_of_a_newer_version_can_be_read() -> None:
    assert ModelCard.decode(CARD.encode()) == CARD
    assert ModelCard.decode(dumps({"model": "m", "root": "r", "max_model_len": 1, "later": 7})) == ModelCard(
        "m", "r", 1
    )
