"""What is told of a job, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import redis.asyncio as aioredis

from tessera.queue import Broker, Job, Leases
from tessera.queue.explanation import Explanations
from tessera.settings import Settings
from tests.queue.corner import HEAD, MODEL, entries_of

MS = 1_750_000_000_000


async def test_what_happened_within_one_millisecond_is_told_in_its_order(
    broker: Broker,
    redis_client: aioredis.Redis,
    settings: Settings,
    add: Callable[..., Awaitable[Job]],
    take: Callable[..., Awaitable[Leases]],
) -> None:
    job = await add()
    for failed in (False, True):
        await broker.release(MODEL, await take(worker=f"failed {failed}"), failed=failed)
    [lease] = await take(worker="last")
    await broker.append(MODEL, [entries_of(lease, 0, HEAD)])
    # As if Redis had been so fast.
    key = broker.keys.job(MODEL, job.id)
    for name, value in (await redis_client.hgetall(key)).items():
        if name.endswith(b"_ms"):
            await redis_client.hset(key, name, MS)
        elif b":" in name:
            await redis_client.hset(key, name, b" ".join([b"%d" % MS, *value.split(b" ")[1:]]))
    explained = await Explanations(redis_client, settings).find([MODEL], [job.id])
    assert explained is not None
    assert [(happening.at_ms, happening.what, happening.worker) for happening in explained.happenings] == [
        (MS, "queued", None),
        (MS, "taken", "failed False"),
        (MS, "given_back", "failed False"),
        (MS, "taken", "failed True"),
        (MS, "engine_failed", "failed True"),
        (MS, "taken", "last"),
        (MS, "answer_began", None),
    ]
