from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import redis.asyncio as aioredis

from tessera.errors import Overloaded, QueueUnavailable
from tessera.queue import Append, Broker, Data, End, Failure, Job, Lease, Once, Place, connect, new_job_id
from tessera.queue.entry import decode
from tessera.settings import Settings
from tests.polling import eventually
from tests.queue.corner import GATEWAY, HEAD, MODEL, depth_of, entries_of, lapse, log_of, overdue, state_of, with_other
from tests.queue.redis_process import RedisProcess

Add = Callable[..., Awaitable[Job]]
Take = Callable[..., Awaitable[list[Lease]]]

# --- enqueue and lease --------------------------------------------------------------------------------


async def test_a_job_arrives_as_it_was_sent(broker: Broker, take: Take) -> None:
    job = Job(new_job_id(), MODEL, "/v1/chat/completions", b'{"bin":"\xc3\xa4"}\x00\xff', 3, hide_usage=True)
    await broker.enqueue(job, reply_to="g")
    [lease] = await take()
    assert lease.job == job
    assert lease.attempts == 1
    assert lease.wait_ms >= 0


async def test_jobs_are_taken_in_order_of_arrival(add: Add, take: Take) -> None:
    jobs = [await add() for _ in range(20)]
    taken = [lease.job.id for worker in "abcd" for lease in await take(5, worker=worker)]
    assert taken == [job.id for job in jobs]


async def test_enqueue_tells_the_length_of_the_queue(broker: Broker, add: Add) -> None:
    await add()
    job = Job(new_job_id(), MODEL, "/", b"")
    assert await broker.enqueue(job, reply_to="g") == 2
    assert await depth_of(broker, MODEL) == (2, 0)


async def test_a_repeated_enqueue_does_not_double_the_job(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    await add(job_id=job.id)
    assert await depth_of(broker, MODEL) == (1, 0)
    assert len(await take()) == 1
    await add(job_id=job.id)
    assert await take() == []


async def test_a_full_queue_rejects_but_a_repeated_enqueue_still_succeeds(
    redis_client: aioredis.Redis, settings: Settings, add: Add
) -> None:
    small = Broker(redis_client, with_other(settings, max_queued_jobs=2))
    job = await add(to=small)
    await add(to=small)
    with pytest.raises(Overloaded) as caught:
        await add(to=small)
    assert caught.value.status == 429
    assert caught.value.retry_after_s
    await add(to=small, job_id=job.id)
    assert await depth_of(small, MODEL) == (2, 0)


async def test_capacity_is_counted_in_sequences(add: Add, take: Take) -> None:
    for sequences in (2, 3, 1):
        await add(sequences=sequences)
    assert [lease.job.sequences for lease in await take(5)] == [2, 3]
    assert [lease.job.sequences for lease in await take(1, capacity=5)] == [1]


async def test_a_job_wider_than_the_engine_runs_alone_when_it_is_idle(add: Add, take: Take) -> None:
    await add(sequences=9)
    assert await take(3, capacity=4) == []
    [lease] = await take(4)
    assert (lease.job.sequences, lease.width) == (9, 4)


async def test_no_more_than_asked_for_are_taken(add: Add, take: Take) -> None:
    for _ in range(3):
        await add()
    assert len(await take(most=2)) == 2
    assert len(await take(most=2)) == 1
    assert await take() == []


async def test_a_record_that_expired_in_the_queue_is_passed_over(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    gone, stays = await add(), await add()
    await redis_client.delete(broker.keys.job(MODEL, gone.id))
    assert [lease.job.id for lease in await take()] == [stays.id]
    assert await depth_of(broker, MODEL) == (0, 1)


@pytest.mark.parametrize("model", ["a/b", "two words", "模型-ü", "{braces}", "a}b{c", "directory", "media", "x:y\n"])
async def test_any_name_of_a_model_works(broker: Broker, add: Add, model: str) -> None:
    job = await add(model=model)
    [lease] = await broker.lease(model, "w", free=1, capacity=1, most=1)
    assert lease.job.model == model
    assert await broker.append(model, [entries_of(lease, 0, HEAD, End().encode(), final=True)]) == []
    assert await log_of(broker, job, model) == [decode(HEAD), End()]
    assert await broker.reap(model) == (0, 0, 0)


async def test_models_do_not_see_each_others_jobs(broker: Broker, add: Add) -> None:
    await add(model="a")
    assert await broker.lease("b", "w", free=1, capacity=1, most=1) == []
    assert await depth_of(broker, "a") == (1, 0)


# --- append -------------------------------------------------------------------------------------------


async def test_entries_are_written_in_order(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    [lease] = await take()
    assert await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")]) == []
    assert (
        await broker.append(MODEL, [entries_of(lease, 2, b"d2", End({"total_tokens": 3}).encode(), final=True)]) == []
    )
    assert await log_of(broker, job) == [decode(HEAD), Data(b"1"), Data(b"2"), End({"total_tokens": 3})]
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_a_repeated_or_overlapping_append_writes_once(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    [lease] = await take()
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")])
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")])
    await broker.append(MODEL, [entries_of(lease, 1, b"d1", b"d2", b"d3")])
    await broker.append(MODEL, [entries_of(lease, 0, HEAD)])
    assert await log_of(broker, job) == [decode(HEAD), Data(b"1"), Data(b"2"), Data(b"3")]


async def test_nothing_is_written_after_the_final_append(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    [lease] = await take()
    last = entries_of(lease, 0, HEAD, End().encode(), final=True)
    await broker.append(MODEL, [last])
    assert await broker.append(MODEL, [last]) == [job.id]
    assert await broker.append(MODEL, [entries_of(lease, 2, b"dlate")]) == [job.id]
    assert await log_of(broker, job) == [decode(HEAD), End()]


async def test_an_append_for_many_jobs_tells_which_are_lost(broker: Broker, add: Add, take: Take) -> None:
    jobs = [await add() for _ in range(3)]
    leases = await take()
    await broker.cancel(MODEL, jobs[1].id)
    assert await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"dx") for lease in leases]) == [jobs[1].id]
    assert [len(await log_of(broker, job)) for job in jobs] == [2, 1, 2]  # that it was cancelled


async def test_a_log_that_was_lost_is_told(broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take) -> None:
    job = await add()
    [lease] = await take()
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")])
    await redis_client.delete(broker.keys.log(MODEL, job.id))
    assert await broker.append(MODEL, [entries_of(lease, 2, b"d2")]) == [job.id]
    assert await log_of(broker, job) == []


async def test_a_large_reply_of_many_bytes_values(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    [lease] = await take()
    content = bytes(range(256)) * 1000
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d" + content)])
    assert await log_of(broker, job) == [decode(HEAD), Data(content)]


# --- fencing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [False, True], ids=["while it waits again", "while another holds it"])
async def test_an_older_epoch_can_write_nothing(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, taken: bool
) -> None:
    job = await add()
    [old] = await take(worker="old")
    if taken:
        await lapse(redis_client, broker)
        assert await broker.reap(MODEL) == (1, 0, 0)
        [lease] = await take(worker="new")
        assert lease.epoch > old.epoch
    else:
        assert await broker.release(MODEL, [old], failed=False) == 1
    assert await broker.append(MODEL, [entries_of(old, 0, HEAD, b"dold")]) == [job.id]
    assert await broker.renew(MODEL, [old]) == [job.id]
    assert await broker.release(MODEL, [old], failed=False) == 0
    assert await log_of(broker, job) == []
    assert await depth_of(broker, MODEL) == ((0, 1) if taken else (1, 0))


async def test_an_epoch_that_redis_forgot_is_not_given_out_again(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    key = broker.keys.job(MODEL, job.id)
    before = await redis_client.hgetall(key)
    [old] = await take(worker="old")
    # A replica that had not heard of the lease takes over.
    await redis_client.hset(key, mapping=before)
    await redis_client.zrem(broker.keys.leases(MODEL), job.id)
    await redis_client.zadd(broker.keys.queue(MODEL), {job.id: 1})
    await asyncio.sleep(0.002)  # the clock of milliseconds moves on
    [new] = await take(worker="new")
    assert await broker.append(MODEL, [entries_of(old, 0, HEAD, b"dold")]) == [job.id]
    assert await broker.append(MODEL, [entries_of(new, 0, HEAD, b"dnew")]) == []
    assert await log_of(broker, job) == [decode(HEAD), Data(b"new")]


# --- renew, reap, release -----------------------------------------------------------------------------


async def test_a_renewed_lease_is_not_reaped(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    await add()
    leases = await take()
    await lapse(redis_client, broker)
    assert await broker.renew(MODEL, leases) == []
    assert await broker.reap(MODEL) == (0, 0, 0)
    assert await depth_of(broker, MODEL) == (0, 1)


async def test_a_lease_runs_out_by_itself(redis_client: aioredis.Redis, settings: Settings, add: Add) -> None:
    broker = Broker(redis_client, with_other(settings, lease_s=0.05))
    await add()
    await broker.lease(MODEL, "w", free=1, capacity=1, most=1)

    async def reaped() -> bool:
        return await broker.reap(MODEL) == (1, 0, 0)

    await eventually(reaped, "the job is given back")


async def test_a_job_that_had_not_begun_goes_back_to_its_place(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    jobs = [await add() for _ in range(3)]
    await take(2)
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (2, 0, 0)
    assert [lease.job.id for lease in await take()] == [job.id for job in jobs]


async def test_a_job_that_had_begun_is_given_to_another_worker_with_what_was_written(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    [lease] = await take()
    begun = replace(entries_of(lease, 0, HEAD, b"d1"), steps=b"s")
    await broker.append(MODEL, [begun])
    await broker.append(MODEL, [begun])
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (1, 0, 0)
    [again] = await take()
    assert (again.job, again.written, again.attempts) == (job, 2, 2)
    assert await broker.recall(again) == ([HEAD, b"d1"], [b"s"])
    assert await broker.append(MODEL, [entries_of(lease, 2, b"dlate")]) == [job.id]
    assert await broker.append(MODEL, [entries_of(again, 2, b"d2")]) == []
    assert await log_of(broker, job) == [decode(HEAD), Data(b"1"), Data(b"2")]


async def test_a_job_that_had_begun_may_wait_as_long_again_for_its_next_worker(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job, behind = await add(), await add()
    [lease] = await take(1)
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, b"d1")])
    # Enqueued long ago, with 300 s to wait.
    await redis_client.hset(broker.keys.job(MODEL, job.id), mapping={"enqueued_ms": 1000, "deadline_ms": 301_000})
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (1, 0, 0)
    await overdue(redis_client, broker, behind)
    assert await broker.reap(MODEL) == (0, 1, 0), "one that waits longer hides none that waited too long"
    assert [lease.job.id for lease in await take()] == [job.id]


async def test_a_job_under_which_too_many_workers_died_is_answered_with_a_failure(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    job = await add()
    for death in range(settings.max_attempts):
        [lease] = await take()
        await broker.append(MODEL, [entries_of(lease, lease.written, *([] if death else [HEAD, b"d1"]))])
        await lapse(redis_client, broker)
        assert await broker.reap(MODEL) == ((1, 0, 0) if death + 1 < settings.max_attempts else (0, 1, 0))
    *begun, failure = await log_of(broker, job)
    assert begun == [decode(HEAD), Data(b"1")]
    assert isinstance(failure, Failure)
    assert failure.code == "poison_request"
    assert await take() == []


async def test_a_release_counts_as_a_delivery_only_where_the_engine_failed(
    broker: Broker, settings: Settings, add: Add, take: Take
) -> None:
    await add()
    for _ in range(settings.max_attempts + 2):
        leases = await take()
        assert leases[0].attempts == 1
        assert await broker.release(MODEL, leases, failed=False) == 1
    for attempt in range(1, settings.max_attempts + 1):
        leases = await take()
        assert leases[0].attempts == attempt
        assert await broker.release(MODEL, leases, failed=True) == (1 if attempt < settings.max_attempts else 0)


async def test_a_repeated_release_changes_nothing(broker: Broker, add: Add, take: Take) -> None:
    await add()
    leases = await take()
    assert await broker.release(MODEL, leases, failed=False) == 1
    assert await broker.release(MODEL, leases, failed=False) == 0
    assert await depth_of(broker, MODEL) == (1, 0)


async def test_reap_drops_a_lease_whose_record_expired(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    leases = await take()
    await redis_client.delete(broker.keys.job(MODEL, job.id))
    assert await broker.append(MODEL, [entries_of(leases[0], 0, HEAD)]) == [job.id]
    assert await broker.renew(MODEL, leases) == [job.id]
    assert await broker.release(MODEL, leases, failed=True) == 0
    await lapse(redis_client, broker)
    assert await broker.reap(MODEL) == (0, 0, 0)
    assert await depth_of(broker, MODEL) == (0, 0)
    assert await redis_client.exists(broker.keys.job(MODEL, job.id)) == 0


# --- deadline and cancel ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["lease", "reap"])
async def test_a_job_that_waited_too_long_is_answered(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take, by: str
) -> None:
    late, fresh = await add(), await add()
    await overdue(redis_client, broker, late)
    if by == "lease":
        assert [lease.job.id for lease in await take()] == [fresh.id]
    else:
        assert await broker.reap(MODEL) == (0, 1, 0)
        assert await depth_of(broker, MODEL) == (1, 0)
    [failure] = await log_of(broker, late)
    assert isinstance(failure, Failure)
    assert failure.code == "queue_timeout"
    assert await state_of(redis_client, broker, late) == "evicted"


async def test_cancelling_a_waiting_job(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    assert await broker.cancel(MODEL, job.id) == "queued"
    assert await broker.cancel(MODEL, job.id) == "cancelled"
    assert await take() == []


async def test_cancelling_a_running_job_tells_its_worker(
    broker: Broker, redis_client: aioredis.Redis, add: Add, take: Take
) -> None:
    job = await add()
    leases = await take(worker="w7")
    async with redis_client.pubsub() as pubsub:
        await pubsub.subscribe(broker.keys.worker("w7"))
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        assert await broker.cancel(MODEL, job.id) == "leased"
        assert (await pubsub.get_message(timeout=5))["data"] == job.id.encode()
    assert await broker.append(MODEL, [entries_of(leases[0], 0, HEAD)]) == [job.id]
    assert await broker.renew(MODEL, leases) == [job.id]
    assert await broker.release(MODEL, leases, failed=True) == 0
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_cancelling_what_has_ended_or_never_was(broker: Broker, add: Add, take: Take) -> None:
    job = await add()
    [lease] = await take()
    await broker.append(MODEL, [entries_of(lease, 0, HEAD, End().encode(), final=True)])
    assert await broker.cancel(MODEL, job.id) == "finished"
    assert await log_of(broker, job) == [decode(HEAD), End()]
    assert await broker.cancel(MODEL, "unknown") is None


# --- nothing stays ------------------------------------------------------------------------------------


async def test_nothing_stays_for_ever(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    for _ in range(4):
        await add()
    finished, begun, lapsed, released = await take()
    await broker.append(MODEL, [entries_of(finished, 0, HEAD, End().encode(), final=True)])
    await broker.append(MODEL, [replace(entries_of(begun, 0, HEAD), steps=b"s")])
    await broker.renew(MODEL, [begun])
    await broker.release(MODEL, [released], failed=False)
    await lapse(redis_client, broker)
    await broker.reap(MODEL)
    cancelled, waiting = await add(), await add()
    await broker.cancel(MODEL, cancelled.id)
    once = Once("k", "sent", "t")
    await broker.enqueue_once(Job(new_job_id(), MODEL, "/", b"{}"), once, reply_to=GATEWAY, lasting=True)
    await broker.follow(MODEL, waiting.id, "another")
    running = await take(2)
    assert [lease.job.id for lease in running] == [begun.job.id, lapsed.job.id]
    names = {key async for key in redis_client.scan_iter(f"{settings.redis_prefix}:*")}
    assert len(names) >= 13
    lasting = [name for name in names if await redis_client.ttl(name) < 0]
    assert lasting == [f"{broker.keys.model(MODEL)}order".encode()]


async def test_a_queue_that_nobody_serves_expires(
    redis_client: aioredis.Redis, settings: Settings, broker: Broker, add: Add
) -> None:
    await add()
    names = {key async for key in redis_client.scan_iter(f"{settings.redis_prefix}:*")}
    lasting = {name for name in names if await redis_client.ttl(name) < 0}
    assert len(names) == 7
    assert lasting == {f"{broker.keys.model(MODEL)}order".encode()}


async def test_a_key_lives_as_long_as_what_it_holds(
    broker: Broker, redis_client: aioredis.Redis, settings: Settings, add: Add, take: Take
) -> None:
    hasty = Broker(redis_client, with_other(settings, queue_timeout_s=0.5))
    await add()
    await add(to=hasty)
    limit_s = settings.queue_timeout_s + settings.reply_ttl_s
    lives_ms = await redis_client.pttl(broker.keys.queue(MODEL))
    assert limit_s < lives_ms / 1000 <= limit_s * 9 / 8
    await asyncio.sleep(0.02)
    await add()
    assert await redis_client.pttl(broker.keys.queue(MODEL)) < lives_ms, "it is long enough"
    [lease] = await take(1)
    await broker.append(MODEL, [entries_of(lease, 0, HEAD)])
    for key in (broker.keys.leases(MODEL), broker.keys.job(MODEL, lease.job.id), broker.keys.log(MODEL, lease.job.id)):
        assert await redis_client.ttl(key) > settings.reply_ttl_s - 60


# --- Redis and the network ----------------------------------------------------------------------------


async def test_hundreds_of_callers_share_few_connections(broker: Broker, redis_client: aioredis.Redis) -> None:
    jobs = [Job(new_job_id(), MODEL, "/", b"") for _ in range(400)]
    await asyncio.gather(*(broker.enqueue(job, reply_to="g") for job in jobs))
    assert await depth_of(broker, MODEL) == (400, 0)
    mine = [c for c in await redis_client.client_list() if c["name"] == "tessera-test"]
    assert len(mine) <= 64


async def test_cancelled_callers_leave_connections_whole(broker: Broker, add: Add) -> None:
    jobs = [await add() for _ in range(5)]

    async def call(n: int) -> None:
        assert await broker.cancel(MODEL, new_job_id()) is None
        [part] = await broker.read([Place(MODEL, jobs[n % 5].id)])
        assert part.state

    for turn in range(40):
        tasks = [asyncio.create_task(call(n)) for n in range(20)]
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)] == []
    # All of the pool's connections still answer with what was asked for.
    await asyncio.gather(*(call(n) for n in range(100)))


async def test_a_redis_that_is_down_or_silent_is_unavailable(own_redis: RedisProcess, add: Add) -> None:
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=0.3)
    client = connect(settings, name="test")
    broker = Broker(client, settings)
    try:
        await add(to=broker)
        own_redis.pause()
        for call in (add(to=broker), broker.read([Place(MODEL, "x")]), broker.ping(), broker.census(MODEL)):
            with pytest.raises(QueueUnavailable):
                await call
        own_redis.resume()
        assert (await depth_of(broker, MODEL))[0] >= 1
        own_redis.kill()
        with pytest.raises(QueueUnavailable):
            await broker.ping()
        own_redis.start()
        # Scripts are loaded again by themselves, and an idle connection that died is no error.
        await add(to=broker)
    finally:
        await client.aclose()


async def test_a_redis_that_cannot_write_is_unavailable(own_redis: RedisProcess, add: Add) -> None:
    settings = Settings(redis_url=own_redis.url)
    client = connect(settings, name="test")
    broker = Broker(client, settings)
    try:
        await add(to=broker)
        await client.config_set("maxmemory", "1")
        with pytest.raises(QueueUnavailable):
            await add(to=broker)
        await client.config_set("maxmemory", "0")
        await client.replicaof("127.0.0.1", 1)
        with pytest.raises(QueueUnavailable):
            await add(to=broker)
        await client.replicaof("NO", "ONE")
        await add(to=broker)
    finally:
        await client.aclose()


async def test_a_worker_of_many_jobs_writes_and_renews_all_of_them(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tessera.queue.reply_logs.HELD_AT_ONCE", 3)
    for number in range(8):
        await broker.enqueue(Job(f"j{number}", MODEL, "/p", b"{}"), reply_to="g")
    leases = await broker.lease(MODEL, "w", free=8, capacity=8, most=8)
    foreign = Append("unknown", 1, 0, [b"dx"], final=False)
    appends = [Append(lease.job.id, lease.epoch, 0, [b"dx"], final=False) for lease in leases]
    assert list(await broker.append(MODEL, [*appends, foreign])) == ["unknown"]
    # After an answer that was lost all of it is written again, and nothing twice.
    assert list(await broker.append(MODEL, [foreign, *appends])) == ["unknown"]
    assert await broker.renew(MODEL, leases) == []
    places = [Place(MODEL, lease.job.id) for lease in leases]
    assert [part.entries for part in await broker.read(places)] == [[b"dx"]] * 8
