"""A request under which workers die takes neither the fleet with it nor those that ran beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from tessera.queue import Broker, DeadLetters, End, Failure, Job, Lease, Leases, new_job_id
from tessera.settings import Settings
from tests.queue.corner import GATEWAY, HEAD, MODEL, entries_of, lapse, log_of, state_of, with_other

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[Leases]]
CAPACITY = 8


async def engine_dies(broker: Broker, leases: list[Lease]) -> int:
    return await broker.release(MODEL, leases, failed=True)


async def failure_of(broker: Broker, job: Job) -> str:
    [*_, failure] = await log_of(broker, job)
    assert isinstance(failure, Failure)
    return failure.code


async def say(broker: Broker, lease: Lease, entries: int, *, at: int = 0) -> None:
    assert await broker.append(MODEL, [entries_of(lease, at, *[b"d"] * entries)]) == []


async def finish(broker: Broker, lease: Lease) -> None:
    assert await broker.append(MODEL, [entries_of(lease, 0, HEAD, End().encode(), final=True)]) == []


async def test_only_the_one_that_kills_is_set_aside_and_those_beside_it_are_answered(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    innocents = [await add() for _ in range(3)]
    poison = await add()
    innocents += [await add() for _ in range(3)]
    for worker in ("first", "second"):
        together = await take(CAPACITY, worker=worker)
        assert len(together) == 7
        assert await engine_dies(broker, together) == 7
    answered = []
    while leases := await take(CAPACITY, worker="third"):
        [lease] = leases
        assert lease.width == CAPACITY
        if lease.job == poison:
            assert await engine_dies(broker, leases) == 0
        else:
            answered.append(lease.job)
            await finish(broker, lease)
    assert answered == innocents
    assert await failure_of(broker, poison) == "poison_request"
    assert await state_of(redis_client, broker, poison) == "evicted"
    [letter] = await DeadLetters(redis_client, broker.keys).of(MODEL)
    assert letter.job_id == poison.id
    assert [(death.worker, death.how) for death in letter.deaths] == [
        ("first", "failed"),
        ("second", "failed"),
        ("third", "failed"),
    ]
    census = await broker.census(MODEL)
    assert (census.waiting, census.running, census.dead, census.counts["set_aside"]) == (0, 0, 1, 1)


async def test_one_death_changes_nothing(broker: Broker, add: Add, take: Take) -> None:
    for _ in range(3):
        await add()
    assert await engine_dies(broker, await take(CAPACITY)) == 3
    again = await take(CAPACITY)
    assert [(lease.width, lease.attempts) for lease in again] == [(1, 2)] * 3


@pytest.mark.parametrize("other", ["waits", "runs"])
async def test_a_suspect_lets_others_pass_for_a_while_and_runs_alone(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take, other: str
) -> None:
    patient = Broker(redis_client, with_other(settings, max_overtakings=2, max_overtaking_s=1000))
    suspect = await add()
    for _ in range(2):
        await engine_dies(broker, await take(CAPACITY, by=patient))
    assert (await broker.census(MODEL)).suspects == 1
    passing = [await add() for _ in range(2)]
    taken = []
    for beside in (1, 2):
        taken += await take(CAPACITY - beside, capacity=CAPACITY, most=1, by=patient)
    assert [lease.job for lease in taken] == passing
    await add()
    held_back = await take(CAPACITY - 3, capacity=CAPACITY, by=patient)
    assert (held_back, held_back.kept_free) == ([], True)
    assert (await broker.census(MODEL)).kept_free == 1
    if other == "runs":
        assert len(await take(CAPACITY - 1, capacity=CAPACITY, worker="another", by=patient)) == 1
    for lease in taken:
        await finish(broker, lease)
    [alone] = await take(CAPACITY, by=patient)
    assert (alone.job, alone.width) == (suspect, CAPACITY)


async def test_suspects_do_not_hide_what_waits_behind_them(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    for _ in range(100):
        await add()
    for _ in range(2):
        await engine_dies(broker, await take(100))
    assert (await broker.census(MODEL)).suspects == 100
    fresh = await add()
    assert [lease.job for lease in await take(99, capacity=100)] == [fresh]


async def test_a_suspect_that_only_was_slow_waits_at_its_own_place_again(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    [slow] = await take(CAPACITY, worker="slow")
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (1, 0, 0)
    [other] = await take(CAPACITY, worker="other")
    assert await engine_dies(broker, [other]) == 1
    assert (await broker.census(MODEL)).suspects == 1
    behind = await add()
    assert await broker.renew(MODEL, [slow]) == [job.id]
    assert (await broker.census(MODEL)).suspects == 0
    assert [(lease.job, lease.width) for lease in await take(CAPACITY)] == [(job, 1), (behind, 1)]


@pytest.mark.parametrize(("beside", "code"), [(0, "poison_request"), (1, "worker_lost")])
async def test_where_one_death_is_enough_only_what_ran_alone_is_set_aside(
    redis_client: aioredis.Redis, settings: Settings, broker: Broker, add: Add, take: Take, beside: int, code: str
) -> None:
    strict = Broker(redis_client, with_other(settings, max_attempts=1))
    jobs = [await add() for _ in range(1 + beside)]
    assert await engine_dies(strict, await take(1 + beside, capacity=1 if not beside else CAPACITY)) == 0
    assert {await failure_of(broker, job) for job in jobs} == {code}
    assert (await broker.census(MODEL)).dead == (0 if beside else 1)


@pytest.mark.parametrize("by", ["lease", "reap"])
async def test_a_suspect_waits_no_longer_than_any_other(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, by: str
) -> None:
    job = await add()
    for _ in range(2):
        await engine_dies(broker, await take(CAPACITY))
    for _ in range(3):
        await add()
    await redis_client.hset(broker.keys.job(MODEL, job.id), "deadline_ms", 1)
    if by == "lease":
        assert len(await take(3, capacity=CAPACITY)) == 3
    else:
        assert await broker.reap(MODEL) == (0, 1, 0)
    assert await failure_of(broker, job) == "queue_timeout"


# --- what a job has outlived


async def test_deaths_count_no_longer_once_a_stream_has_got_further(broker: Broker, add: Add, take: Take) -> None:
    await add()
    written = 0
    for _ in range(4):
        [lease] = await take(CAPACITY)
        assert (lease.width, lease.written) == (1, written)
        await say(broker, lease, 8, at=written)
        written += 8
        assert await engine_dies(broker, [lease]) == 1
    assert (await broker.census(MODEL)).suspects == 0


async def test_what_a_dying_worker_had_not_yet_written_is_no_progress(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    for written in (0, 7):
        [lease] = await take(CAPACITY)
        await say(broker, lease, 7, at=written)
        await engine_dies(broker, [lease])
    [alone] = await take(CAPACITY)
    assert alone.width == CAPACITY
    assert await engine_dies(broker, [alone]) == 0
    assert await failure_of(broker, job) == "poison_request"


@pytest.mark.parametrize("by", ["words", "time"])
async def test_a_suspect_is_joined_by_others_once_it_has_outlived_its_deaths(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, by: str
) -> None:
    job = await add(sequences=2)
    for _ in range(2):
        await engine_dies(broker, await take(CAPACITY))
    [alone] = await take(CAPACITY)
    assert (await broker.renew(MODEL, [alone])).widths == {}
    assert alone.width == CAPACITY
    if by == "words":
        await say(broker, alone, 8)
    else:
        await redis_client.hset(broker.keys.job(MODEL, job.id), "lived_ms", -(10**9))
    for _ in range(2):
        assert (await broker.renew(MODEL, [alone])).widths == {job.id: 2}
    assert await engine_dies(broker, [alone]) == 1, "that was the first death that counts"
    [again] = await take(CAPACITY)
    assert (again.job, again.width) == (job, 2)


async def test_one_that_kills_a_little_later_each_time_comes_to_an_end(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    for turn in range(5):
        [lease] = await take(CAPACITY)
        assert lease.width == 1
        await say(broker, lease, 10, at=10 * turn)
        assert await engine_dies(broker, [lease]) == 1
    [alone] = await take(CAPACITY)
    assert alone.width == CAPACITY
    await say(broker, alone, 10, at=50)
    assert (await broker.renew(MODEL, [alone])).widths == {}
    assert await engine_dies(broker, [alone]) == 0
    assert await failure_of(broker, job) == "poison_request"
    [letter] = await DeadLetters(redis_client, broker.keys).of(MODEL)
    assert len(letter.deaths) == 6


async def test_a_worker_that_is_heard_of_late_gives_back_the_death_that_it_was(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    [slow] = await take(CAPACITY, worker="slow")
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (1, 0, 0)
    [other] = await take(CAPACITY, worker="other")
    await say(broker, other, 8)
    assert await engine_dies(broker, [other]) == 1
    assert await broker.renew(MODEL, [slow]) == [job.id]
    [third] = await take(CAPACITY)
    assert await engine_dies(broker, [third]) == 1
    assert (await broker.census(MODEL)).suspects == 1, "two have died since"


async def test_an_idle_worker_takes_one_suspect_at_once_and_the_others_wait(
    broker: Broker, add: Add, take: Take
) -> None:
    suspects = [await add() for _ in range(2)]
    for _ in range(2):
        await engine_dies(broker, await take(CAPACITY))
    fresh = [await add() for _ in range(2)]
    [first] = await take(CAPACITY, worker="a")
    assert (first.job, first.width) == (suspects[0], CAPACITY)
    [passing] = await take(CAPACITY, worker="b", most=1)
    assert passing.job == fresh[0]
    await say(broker, first, 8)
    [second] = await take(CAPACITY, worker="c")
    assert (second.job, second.width) == (suspects[1], CAPACITY)


# --- what is kept


async def die(broker: Broker, body: bytes = b'{"x":1}') -> Job:
    job = Job(new_job_id("r"), MODEL, "/v1/completions", body, 2, stream=True)
    await broker.enqueue(job, reply_to=GATEWAY)
    for turn in range(3):
        [lease] = await broker.lease(MODEL, f"w{turn}", free=1, capacity=1, most=1)
        await broker.release(MODEL, [lease], failed=True)
    return job


async def test_a_dead_letter_holds_the_job_and_says_so_in_the_log(broker: Broker, redis_client: aioredis.Redis) -> None:
    with capture_logs() as logs:
        job = await die(broker)
    [line] = [line for line in logs if line["event"] == "job_set_aside"]
    assert (line["job"], line["reason"], line["workers"]) == (job.id, "poison_request", ["w0", "w1", "w2"])
    letters = DeadLetters(redis_client, broker.keys)
    [letter] = await letters.of(MODEL)
    assert (letter.path, letter.sequences, letter.body_bytes) == (job.path, job.sequences, len(job.body))
    assert letter.enqueued_ms <= letter.deaths[0].at_ms <= letter.dead_ms
    assert await letters.body(letter) == job.body
    again = await letters.job(letter)
    assert again is not None
    assert again.id != job.id
    assert again.id.startswith("r-")
    assert (again.path, again.body, again.sequences, again.stream) == (job.path, job.body, job.sequences, True)
    await letters.drop(letter)
    assert await letters.of(MODEL) == []


async def test_the_newest_dead_letters_are_kept_up_to_a_number(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings
) -> None:
    few = Broker(redis_client, with_other(settings, max_dead_jobs=2))
    jobs = [await die(few) for _ in range(4)]
    letters = await DeadLetters(redis_client, broker.keys).of(MODEL)
    assert {letter.job_id for letter in letters} == {job.id for job in jobs[2:]}
    names = {key async for key in redis_client.scan_iter(f"{settings.redis_prefix}:*dead:*")}
    assert len(names) == 2


async def test_their_bodies_take_a_bounded_room(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings
) -> None:
    tight = Broker(redis_client, with_other(settings, max_dead_bytes=100))
    small, large, last = [await die(tight, b"x" * size) for size in (40, 101, 60)]
    letters = DeadLetters(redis_client, broker.keys)
    newest, next_one, oldest = await letters.of(MODEL)
    assert [letter.job_id for letter in (newest, next_one)] == [last.id, large.id]
    assert (next_one.body_bytes, await letters.body(next_one), await letters.job(next_one)) == (101, None, None)
    assert oldest.job_id == small.id
    await die(tight, b"x" * 50)
    assert {letter.job_id for letter in await letters.of(MODEL)} & {small.id, large.id, last.id} == set()


async def test_they_expire(broker: Broker, redis_client: aioredis.Redis, settings: Settings) -> None:
    await die(Broker(redis_client, with_other(settings, dead_ttl_s=1000)))
    names = {key async for key in redis_client.scan_iter(f"{settings.redis_prefix}:*dead*")}
    assert len(names) == 2
    for name in names:
        assert 0 < await redis_client.ttl(name) <= 1000 * 9 / 8
    await redis_client.zadd(broker.keys.dead(MODEL), {"long gone": 1})
    await die(broker)
    assert await redis_client.zscore(broker.keys.dead(MODEL), "long gone") is None
