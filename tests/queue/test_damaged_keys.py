"""Keys of the queue that are of another type than they should be are set aside, and everything goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from tessera.queue import Broker, DeadLetters, Directory, End, Job, Leases, ModelCard, Once, new_job_id
from tessera.settings import Settings
from tests.queue.corner import GATEWAY, HEAD, MODEL, depth_of, entries_of, lapse

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[Leases]]
STRUCTURES = (
    *("queue", "leases", "bodies", "replies", "ended", "first", "alone", "wake", "wake-batch", "dead", "counts"),
    *("reserved", "order", "gateways", "watch", "damaged", f"gateway:{GATEWAY}", "keys:tenant", "once:name"),
)


async def spoil(redis: aioredis.Redis, key: str) -> None:
    """Whatever type the key has, it has another one now."""
    await redis.delete(key)
    await redis.geoadd(key, (1, 1, "garbage"))
    if "".join(key.rsplit(":", 1)[1:]) in {"queue", "leases", "ended", "dead", "gateways", "tenant"}:
        await redis.set(key, "garbage")


async def counted(broker: Broker, model: str = MODEL) -> dict[str, int]:
    counts = (await broker.census(model)).counts
    return {name.removeprefix("corrupt:"): n for name, n in counts.items() if name.startswith("corrupt:")}


@pytest.mark.parametrize("first", ["a verb", "the reaper"])
@pytest.mark.parametrize("name", STRUCTURES)
async def test_every_verb_goes_on_whichever_key_is_overwritten(
    broker: Broker, redis_client: aioredis.Redis, add: Add, name: str, first: str
) -> None:
    key = broker.keys.model(MODEL) + name
    once = Once("name", "sent", "tenant")
    for turn in range(3):
        await spoil(redis_client, key)
        if first == "the reaper":
            await broker.reap(MODEL)
        job = await add()
        other = Job(new_job_id(), MODEL, "/", b"{}")
        assert await broker.enqueue_once(other, once, reply_to=GATEWAY, lasting=False) is None, turn
        await spoil(redis_client, key)
        taken = await broker.lease(MODEL, "w", free=9, capacity=9, most=9)
        assert {lease.job.id for lease in taken} == {job.id, other.id}
        await spoil(redis_client, key)
        assert await broker.renew(MODEL, taken) == []
        await spoil(redis_client, key)
        assert await broker.append(MODEL, [entries_of(lease, 0, HEAD) for lease in taken]) == []
        await spoil(redis_client, key)
        assert await broker.release(MODEL, taken, failed=False) == 2
        await spoil(redis_client, key)
        assert await broker.cancel_all(MODEL, [job.id, other.id]) == ["queued", "queued"]
        await spoil(redis_client, key)
        assert await broker.reap(MODEL) == (0, 0, 0)
    assert await depth_of(broker) == (0, 0)
    kind = name.partition(":")[0]
    assert set(await counted(broker)) == {f"key:{kind}"}
    kept = f"{broker.keys.model(MODEL)}damaged:{name}"
    assert 0 < await redis_client.pttl(kept) <= 86_400_000


async def test_what_is_set_aside_is_told_once(broker: Broker, redis_client: aioredis.Redis, add: Add) -> None:
    key = broker.keys.queue(MODEL)
    await redis_client.set(key, "garbage")
    with capture_logs() as logs:
        await add()
        for _ in range(2):
            await broker.reap(MODEL)
    [line] = [line for line in logs if line["event"] == "redis_key_damaged"]
    assert (line["key"], line["log_level"]) == (key, "error")
    assert await redis_client.get(line["kept_as"]) == b"garbage"


@pytest.mark.parametrize("how", ["overwritten", "deleted"])
async def test_jobs_that_wait_keep_their_places(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, how: str
) -> None:
    jobs = [await add() for _ in range(5)]
    for name in ("queue", "order"):
        key = broker.keys.model(MODEL) + name
        await (redis_client.set(key, "garbage") if how == "overwritten" else redis_client.delete(key))
    await broker.reap(MODEL)
    jobs.append(await add())
    assert [lease.job for lease in await take()] == jobs


@pytest.mark.parametrize("how", ["overwritten", "deleted"])
async def test_jobs_that_run_go_on_and_are_taken_from_workers_that_died(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, how: str
) -> None:
    alive, dead = await add(), await add()
    leases = await take()
    key = broker.keys.leases(MODEL)
    await (redis_client.set(key, "garbage") if how == "overwritten" else redis_client.delete(key))
    assert await broker.reap(MODEL) == (0, 0, 0)
    assert await depth_of(broker) == (0, 2)
    await lapse(redis_client, broker)
    assert await broker.renew(MODEL, leases[:1]) == []
    assert await broker.reap(MODEL) == (1, 0, 0)
    assert [lease.job for lease in await take(worker="other")] == [dead]
    end = entries_of(leases[0], 0, HEAD, End().encode(), final=True)
    assert leases[0].job == alive
    assert await broker.append(MODEL, [end]) == []


async def test_counts_and_lists_can_be_read_meanwhile(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings
) -> None:
    for key in (broker.keys.queue(MODEL), broker.keys.bodies(MODEL), broker.keys.counts(MODEL)):
        await redis_client.set(key, "garbage")
    assert (await broker.census(MODEL)).counts == {}
    assert await broker.queued_bytes([MODEL]) == {MODEL: 0}
    await redis_client.delete(broker.keys.bodies(MODEL), broker.keys.counts(MODEL))
    await redis_client.hset(broker.keys.bodies(MODEL), broker.keys.SUM, "garbage")
    await redis_client.hset(broker.keys.counts(MODEL), "set_aside", "garbage")
    assert (await broker.census(MODEL)).queued_bytes == 0
    assert await broker.queued_bytes([MODEL]) == {MODEL: 0}
    await redis_client.set(broker.keys.dead(MODEL), "garbage")
    await broker.reap(MODEL)
    assert await DeadLetters(redis_client, broker.keys).of(MODEL) == []


@pytest.mark.parametrize("what", ["workers", "cards", "models"])
async def test_the_directory_is_made_anew_by_the_next_announcement(
    broker: Broker, redis_client: aioredis.Redis, what: str
) -> None:
    directory, card = Directory(redis_client, broker.keys), ModelCard("m", "root", 1)
    await directory.announce("w", card, ttl_s=60)
    await redis_client.set(getattr(broker.keys, what), "garbage")
    with capture_logs() as logs:
        await directory.models()
    assert [line["key"] for line in logs] == [getattr(broker.keys, what)]
    await redis_client.set(getattr(broker.keys, what), "garbage")
    await directory.announce("w", card, ttl_s=60)
    [found] = await directory.models()
    assert (found.card, found.workers) == (card, 1)
    assert await counted(broker, broker.keys.DIRECTORY) == {f"key:{what}": 2}


@pytest.mark.parametrize("garbage", [b"garbage", b"123 garbage", b"123 []", b"123 {}", b'123 {"model": 1}', b"\xff"])
async def test_a_card_that_is_damaged_is_left_out(broker: Broker, redis_client: aioredis.Redis, garbage: bytes) -> None:
    directory, card = Directory(redis_client, broker.keys), ModelCard("good", "root", 1)
    for name in ("good", "bad"):
        await directory.announce(name, card if name == "good" else ModelCard(name, "root", 1), ttl_s=60)
    await redis_client.hset(broker.keys.models, "bad", garbage)
    await redis_client.hset(broker.keys.cards, "bad", garbage)
    with capture_logs() as logs:
        for _ in range(3):
            [found] = await directory.models()
    assert found.card == card
    told = [line for line in logs if line["event"] == "card_damaged"]
    assert 1 <= len(told) <= 2, "each once"
    await directory.announce("bad", ModelCard("bad", "root", 1), ttl_s=60)
    assert [(m.card.model, m.workers) for m in await directory.models()] == [("bad", 1), ("good", 1)]
