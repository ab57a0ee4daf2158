"""Damaged entries in Redis are set aside and counted, their clients are told, and everything else goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio as aioredis

from tessera.queue import Broker, DeadLetters, End, Failure, Job, Leases, Place, Records
from tessera.queue.keys import Keys
from tessera.settings import Settings
from tests.queue.corner import HEAD, MODEL, depth_of, entries_of, lapse, log_of

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[Leases]]
Spoil = Callable[[aioredis.Redis, Broker, Job], Awaitable[Any]]


def field(name: str, value: str | None) -> Spoil:
    """A field of a job's record that is not what it should be, or not there."""

    async def spoil(redis: aioredis.Redis, broker: Broker, job: Job) -> None:
        key = broker.keys.job(MODEL, job.id)
        await redis.hdel(key, name)
        if value is not None:
            await redis.hset(key, name, value)

    return spoil


async def no_record(redis: aioredis.Redis, broker: Broker, job: Job) -> None:
    await redis.delete(broker.keys.job(MODEL, job.id))


async def another_type(redis: aioredis.Redis, broker: Broker, job: Job) -> None:
    await redis.set(broker.keys.job(MODEL, job.id), "garbage")


async def log_of_another_type(redis: aioredis.Redis, broker: Broker, job: Job) -> None:
    await redis.set(broker.keys.log(MODEL, job.id), "garbage")


WAITING: list[Any] = [
    pytest.param(no_record, "queue", id="no record"),
    pytest.param(another_type, "job", id="a record of another type"),
    pytest.param(log_of_another_type, "log", id="a reply of another type"),
    *(
        pytest.param(field(name, value), kind, id=f"{name}: {value}")
        for name, value, kind in (
            *((name, None, "job") for name in ("body", "meta", "sequences", "epoch", "deadline_ms", "reply_to")),
            *((name, "garbage", "job") for name in ("sequences", "epoch", "attempts", "enqueued_ms", "deadline_ms")),
            *(("meta", value, "meta") for value in ("garbage", "[]", "{}", "\x00")),
            ("sequences", "-3", "job"),
        )
    ),
]


async def counted(broker: Broker) -> dict[str, int]:
    counts = (await broker.census(MODEL)).counts
    return {name.removeprefix("corrupt:"): n for name, n in counts.items() if name.startswith("corrupt:")}


async def failure_of(broker: Broker, job: Job) -> str:
    [*_, failure] = await log_of(broker, job)
    assert isinstance(failure, Failure)
    return failure.code


@pytest.mark.parametrize(("spoil", "kind"), WAITING)
async def test_a_waiting_job_that_is_damaged_is_set_aside_and_those_around_it_are_taken(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, spoil: Spoil, kind: str
) -> None:
    first, bad, last = [await add() for _ in range(3)]
    await spoil(redis_client, broker, bad)
    assert [lease.job for lease in await take()] == [first, last]
    assert await counted(broker) == {kind: 1}
    assert await depth_of(broker, MODEL) == (0, 2)
    assert await failure_of(broker, bad) == "reply_lost"
    assert await broker.queued_bytes([MODEL]) == {MODEL: len(first.body) + len(last.body)}
    kept = await DeadLetters(redis_client, broker.keys).of(MODEL)
    whole = spoil not in (no_record, another_type)
    assert [(letter.job_id, letter.reason) for letter in kept] == [(bad.id, "record_damaged")] * whole
    names = {key async for key in redis_client.scan_iter(f"{broker.keys.prefix}:*{bad.id}")}
    assert [name for name in names if await redis_client.ttl(name) < 0] == []


@pytest.mark.parametrize("spoil", [another_type, field("order", None), field("epoch", "x"), field("deaths", "x")])
async def test_a_running_job_that_is_damaged_does_not_keep_others_from_being_reaped(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, spoil: Spoil
) -> None:
    bad, good = await add(), await add()
    await take()
    await spoil(redis_client, broker, bad)
    await redis_client.zadd(broker.keys.leases(MODEL), {b"\xff\x00 nobody": 1})
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (1, 1, 0)
    assert await counted(broker) == {"job": 1, "lease": 1}
    assert await failure_of(broker, bad) == "reply_lost"
    assert [lease.job for lease in await take()] == [good]


async def test_a_worker_goes_on_with_its_other_jobs(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    jobs = [await add() for _ in range(4)]
    leases = await take()
    gone, garbled, stepless, good = jobs
    await another_type(redis_client, broker, gone)
    await log_of_another_type(redis_client, broker, garbled)
    await redis_client.set(broker.keys.steps(MODEL, stepless.id), "garbage")
    await redis_client.hset(broker.keys.job(MODEL, good.id), "followers", "garbage")
    assert await broker.renew(MODEL, leases) == [gone.id]
    written = [replace(entries_of(lease, 0, HEAD, b"d1"), steps=b"s") for lease in leases]
    assert await broker.append(MODEL, written) == [gone.id, garbled.id]
    assert await failure_of(broker, garbled) == "reply_lost"
    assert len(await log_of(broker, good)) == len(await log_of(broker, stepless)) == 2
    assert await counted(broker) == {"log": 1, "steps": 1}
    assert await broker.release(MODEL, leases, failed=False) == 2
    states = await broker.cancel_all(MODEL, [job.id for job in jobs])
    assert states == [None, "evicted", "queued", "queued"]


async def test_what_is_damaged_of_one_reply_does_not_keep_others_from_being_read(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    bad, good = await add(), await add()
    [_, lease] = await take()
    await broker.append(MODEL, [entries_of(lease, 0, HEAD)])
    await log_of_another_type(redis_client, broker, bad)
    lost, found = await broker.read([Place(MODEL, bad.id, 0, 1000), Place(MODEL, good.id, 0, 1000)])
    assert (lost.entries, lost.length, lost.state) == ([], 0, None)
    assert (found.entries, found.state) == ([HEAD], b"leased")
    assert await counted(broker) == {"log": 1}


async def test_a_record_of_steps_that_is_damaged_is_told(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    [lease] = await take()
    await redis_client.set(broker.keys.steps(MODEL, job.id), "garbage")
    with pytest.raises(ValueError, match="damaged"):
        await broker.recall(replace(lease, written=1))


@pytest.mark.parametrize("garbage", ["text", "hash", b"\x91\xa1x", b"\x80", b""])
async def test_a_claim_that_is_damaged_is_forgotten(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, garbage: str | bytes
) -> None:
    key = f"{broker.keys.model(MODEL)}claim:w"
    if garbage == "hash":
        await redis_client.hset(key, "a", "b")
    else:
        await redis_client.set(key, garbage)
    await add()
    assert len(await take(worker="w")) == 1
    assert await counted(broker) == {"claim": 1}


@pytest.mark.parametrize("what", ["bodies", "replies", "ended", "first"])
@pytest.mark.parametrize("garbage", ["another type", "no number"])
async def test_what_is_counted_is_counted_anew_where_it_is_damaged(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take, what: str, garbage: str
) -> None:
    small = Broker(redis_client, settings.model_copy(update={"max_reply_bytes": 1}))
    key = f"{broker.keys.model(MODEL)}{what}"
    for _ in range(2):
        await add()
        [lease] = await take()
        await redis_client.delete(key, f"{broker.keys.model(MODEL)}first")
        if garbage == "another type":
            await redis_client.rpush(key, "garbage")
        else:
            await redis_client.hset(key, mapping={Keys.SUM: "x", lease.job.id: "x"})
        await add()
        assert await small.append(MODEL, [entries_of(lease, 0, HEAD)]) == []
        assert await small.append(MODEL, [entries_of(lease, 1, b"d", End().encode(), final=True)]) == []
        await broker.reap(MODEL)
        for other in await take():
            await broker.cancel(MODEL, other.job.id)
        await broker.reap(MODEL)
    assert set(await counted(broker)) == {f"key:{what}"}
    assert await depth_of(broker, MODEL) == (0, 0)


@pytest.mark.parametrize("spoil", [another_type, log_of_another_type, field("meta", "garbage"), field("epoch", "x")])
async def test_a_damaged_job_is_not_known_to_those_who_ask_for_it(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take, spoil: Spoil
) -> None:
    job = await add()
    await take()
    records = Records(redis_client, settings)
    assert await records.find([MODEL], [job.id]) is not None
    await spoil(redis_client, broker, job)
    assert await records.find([MODEL], [job.id]) is None


async def test_a_wait_that_cannot_be_told_ends(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    bad, good = await add(), await add()
    await field("deadline_ms", "soon")(redis_client, broker, bad)
    assert await broker.reap(MODEL) == (0, 1, 0)
    assert [lease.job for lease in await take()] == [good]
