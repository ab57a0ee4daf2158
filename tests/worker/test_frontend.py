from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio as aioredis
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tessera.errors import QueueUnavailable
from tessera.queue import Broker, Directory, End, Failure, Lease, wakeup
from tessera.settings import Settings
from tessera.worker import frontend as frontends
from tessera.worker import intake
from tests.circles import circles
from tests.polling import eventually
from tests.queue.corner import depth_of
from tests.worker.floor import Application, Floor, all_answered
from tests.worker.jobs import MODEL, answered, enqueue, lapse, log_of, requeued, text_of


async def workers(redis: aioredis.Redis, broker: Broker) -> int:
    return sum(m.workers for m in await Directory(redis, broker.keys).models())


async def test_jobs_are_answered(floor: Floor, broker: Broker) -> None:
    app = Application()
    app.go.set()
    floor.start(app)
    jobs = [await enqueue(broker) for _ in range(30)]
    await all_answered(broker, jobs)
    for job in jobs:
        assert await text_of(broker, job) == b"done"
        assert app.begun[job.id] == 1
    assert app.most_running <= 4
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_jobs_leave_nothing_to_pythons_collector(floor: Floor, broker: Broker) -> None:
    app = Application()
    app.go.set()
    floor.start(app)
    await all_answered(broker, [await enqueue(broker)])
    with circles() as found:
        await all_answered(broker, [await enqueue(broker, batch=n % 2 == 0) for n in range(10)])
        await eventually(lambda: app.running == 0, "all have ended")
    assert not found


async def test_no_more_sequences_than_the_engine_has_room_for(floor: Floor, broker: Broker) -> None:
    app = Application()
    jobs = [await enqueue(broker, sequences=n) for n in (2, 2, 1, 9)]
    floor.start(app, sequences=4)
    await eventually(lambda: app.running == 2, "as many as fit are running")
    assert await depth_of(broker, MODEL) == (2, 2)
    app.go.set()
    await all_answered(broker, jobs)
    assert app.most_running == 2


async def test_a_worker_that_is_kept_free_for_a_wide_job_runs_it_next_and_wakes_for_nothing_else(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis
) -> None:
    app = Application()
    running, wide = await enqueue(broker), await enqueue(broker, sequences=4)
    floor.start(app, sequences=4, settings=floor.settings.model_copy(update={"max_overtakings": 0}))
    await eventually(lambda: app.begun[running.id] == 1, "it runs")

    async def kept_free() -> bool:
        return bool(await redis_client.exists(broker.keys.reserved(MODEL)))

    await eventually(kept_free, "the worker is kept free")
    await redis_client.delete(broker.keys.wake(MODEL))
    small = await enqueue(broker)
    await broker.cancel(MODEL, running.id)
    await eventually(lambda: app.begun[wide.id] == 1, "the wide one runs")
    assert app.begun[small.id] == 0
    assert await redis_client.llen(broker.keys.wake(MODEL)) == 1, "it is left to other workers"
    await broker.cancel(MODEL, wide.id)
    await eventually(lambda: app.begun[small.id] == 1, "and then the small one")


async def test_the_next_of_a_batch_follows_the_end_of_another_one(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "LONGEST_WAIT_S", 60.0)
    monkeypatch.setattr(intake, "LONGEST_WAIT_S", 60.0)
    app = Application()
    lines = [await enqueue(broker, batch=True) for _ in range(5)]
    floor.start(app, sequences=4)
    await eventually(lambda: app.running == 2, "as many as batches may take up are running")

    async def waits_for_people() -> bool:
        return await redis_client.llen(broker.keys.wake(MODEL)) == 0

    await eventually(waits_for_people, "there is nothing more to be taken")
    people = [await enqueue(broker) for _ in range(2)]
    await eventually(lambda: app.running == 4, "they find room")
    for line in lines[:3]:
        await broker.cancel(MODEL, line.id)
    await eventually(lambda: all(app.begun[line.id] == 1 for line in lines[3:]), "the next ones run")
    assert app.most_running == 4
    app.go.set()
    await all_answered(broker, [*people, *lines])


@pytest.mark.parametrize(("takes_s", "running"), [(1000.0, intake.BATCHED_AT_ONCE), (0.001, 10)])
async def test_lines_of_a_batch_begin_a_few_at_a_time(
    floor: Floor, broker: Broker, monkeypatch: pytest.MonkeyPatch, takes_s: float, running: int
) -> None:
    for module in (wakeup, intake):
        monkeypatch.setattr(module, "LONGEST_WAIT_S", 60.0)
    monkeypatch.setattr(intake, "LONGEST_PACE_S", 60.0)
    app = Application()
    lines = [await enqueue(broker, batch=True) for _ in range(10)]
    floor.start(app, sequences=32)._seats.batch_s = takes_s
    await eventually(lambda: app.running == running, "they begin")
    await asyncio.sleep(0.1)
    assert (app.running, app.begun.total()) == (running, running)
    assert (await broker.census(MODEL)).batch_waiting == len(lines) - running
    person = await enqueue(broker)
    await eventually(lambda: app.begun[person.id] == 1, "nobody else waits for them", within_s=10.0)
    assert app.running == running + 1


async def test_a_job_is_heard_of_behind_a_wait_that_was_given_up(
    floor: Floor, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wakeup, intake):
        monkeypatch.setattr(module, "LONGEST_WAIT_S", 60.0)
    app = Application()
    running, wide = await enqueue(broker), await enqueue(broker, sequences=4)
    settings = floor.settings.model_copy(update={"lease_s": 120.0})
    floor.start(app, sequences=4, settings=settings, blocking_s=120.0)
    await eventually(lambda: app.begun[running.id] == 1, "it runs, and the wide one waits for its end")
    await asyncio.sleep(0.1)
    await broker.cancel(MODEL, running.id)
    await eventually(lambda: app.begun[wide.id] == 1, "the wide one runs")
    await broker.cancel(MODEL, wide.id)
    await eventually(lambda: app.running == 0, "there is nothing to do")
    await asyncio.sleep(0.1)
    for _ in range(2):
        job = await enqueue(broker)
        await eventually(lambda job=job: app.begun[job.id] == 1, "the worker has heard of it", within_s=10.0)


async def test_a_worker_that_is_full_leaves_it_to_others_to_hear_of_jobs(
    floor: Floor, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wakeup, intake):
        monkeypatch.setattr(module, "LONGEST_WAIT_S", 60.0)
    settings = floor.settings.model_copy(update={"lease_s": 120.0})
    app, other = Application(), Application()
    running, wide = await enqueue(broker), await enqueue(broker, sequences=4)
    floor.start(app, sequences=4, settings=settings, blocking_s=120.0)
    await eventually(lambda: app.begun[running.id] == 1, "it runs, and the wide one waits for its end")
    await asyncio.sleep(0.1)
    await broker.cancel(MODEL, running.id)
    await eventually(lambda: app.begun[wide.id] == 1, "the wide one takes up all of the worker")
    floor.start(other, sequences=4, settings=settings, blocking_s=120.0)
    await asyncio.sleep(0.1)
    job = await enqueue(broker)
    await eventually(lambda: other.begun[job.id] == 1, "the other worker has heard of it", within_s=10.0)


async def test_others_join_a_suspect_once_it_has_outlived_its_deaths(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis
) -> None:
    app = Application()
    suspect = await enqueue(broker)
    for _ in range(2):
        leases = await broker.lease(MODEL, "dying", free=4, capacity=4, most=1)
        await broker.release(MODEL, leases, failed=True)
    others = [await enqueue(broker) for _ in range(3)]
    floor.start(app, sequences=4)
    await eventually(lambda: app.begun[suspect.id] == 1, "it runs")
    assert app.running == 1
    assert await depth_of(broker, MODEL) == (3, 1)
    await redis_client.hset(broker.keys.job(MODEL, suspect.id), "lived_ms", -(10**9))
    await eventually(lambda: app.running == 4, "the others run beside it")
    app.go.set()
    await all_answered(broker, [suspect, *others])


@pytest.mark.parametrize("what", ["the engine", "the worker"])
async def test_a_job_that_fails_alone_is_answered_with_that_and_not_run_again(
    floor: Floor, broker: Broker, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    app = Application()
    frontend = floor.start(app)
    if what == "the engine":
        app.failing = True
    else:
        monkeypatch.setattr(frontend._journal, "open", None)
    job = await enqueue(broker)
    await all_answered(broker, [job])
    [failure] = await log_of(broker, job)
    assert isinstance(failure, Failure)
    assert failure.code == "internal_error"
    assert app.begun[job.id] == (1 if what == "the engine" else 0)
    assert await depth_of(broker, MODEL) == (0, 0)
    app.failing = False
    app.go.set()
    monkeypatch.undo()
    await all_answered(broker, [await enqueue(broker)])


@pytest.mark.parametrize("begun", [False, True])
async def test_a_cancelled_job_is_dropped_before_leases_are_renewed(floor: Floor, broker: Broker, begun: bool) -> None:
    app = Application()
    app.first_piece = begun
    # Leases are so long that renewing them is not what tells.
    frontend = floor.start(app, settings=floor.settings.model_copy(update={"lease_s": 60.0}))
    listening = broker.keys.worker(frontend.worker_id)

    async def subscribed() -> bool:
        return (await broker._redis.pubsub_numsub(listening))[0][1] == 1

    await eventually(subscribed, "it listens")
    job = await enqueue(broker)
    await eventually(lambda: app.running == 1, "it runs")
    assert await broker.cancel(MODEL, job.id) == "leased"
    await eventually(lambda: app.running == 0, "it is dropped", within_s=10.0)
    app.go.set()
    other = await enqueue(broker)
    await all_answered(broker, [other])
    assert not any(isinstance(e, End) for e in await log_of(broker, job))


async def test_a_cancellation_that_nobody_heard_is_found_by_renewing(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis
) -> None:
    app = Application()
    floor.start(app)
    job = await enqueue(broker)
    await eventually(lambda: app.running == 1, "it runs")
    await redis_client.hset(broker.keys.job(MODEL, job.id), "worker", "somebody else")
    await broker.cancel(MODEL, job.id)
    await eventually(lambda: app.running == 0, "it is dropped")


async def test_leases_are_kept_for_as_long_as_a_job_runs(floor: Floor, broker: Broker) -> None:
    app = Application()
    floor.start(app, settings=floor.settings.model_copy(update={"lease_s": 0.4}))
    job = await enqueue(broker)
    await eventually(lambda: app.running == 1, "it runs")
    lease_key = broker.keys.leases(MODEL)
    expiries = set()

    async def renewed() -> bool:
        assert await broker.reap(MODEL) == (0, 0, 0)
        expiries.add(await broker._redis.zscore(lease_key, job.id))
        return len(expiries) > 4

    await eventually(renewed, "the lease was renewed again and again")
    app.go.set()
    await all_answered(broker, [job])
    assert app.begun[job.id] == 1


async def test_stop_lets_running_jobs_end_and_takes_no_more(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis
) -> None:
    app = Application()
    frontend = floor.start(app, sequences=2)
    jobs = [await enqueue(broker) for _ in range(3)]
    await eventually(lambda: app.running == 2, "two are running")

    async def announced() -> bool:
        return await workers(redis_client, broker) == 1

    await eventually(announced, "it is announced")
    frontend.stop()
    frontend.stop()

    async def withdrawn() -> bool:
        return await workers(redis_client, broker) == 0

    await eventually(withdrawn, "it is withdrawn")
    app.go.set()
    await floor.ended(frontend)
    assert [await answered(broker, job) for job in jobs] == [True, True, False]
    assert await depth_of(broker, MODEL) == (1, 0)
    assert await workers(redis_client, broker) == 0  # and nothing has announced it again meanwhile


async def test_stop_before_the_start_is_heeded(floor: Floor, broker: Broker) -> None:
    job = await enqueue(broker)
    frontend = floor.start(Application())
    frontend.stop()
    await floor.ended(frontend)
    assert await depth_of(broker, MODEL) == (1, 0)
    assert not await answered(broker, job)


async def test_jobs_that_were_handed_out_during_stop_are_answered(
    floor: Floor, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Application()
    app.go.set()
    frontend = floor.start(app)
    lease, asked, answer = frontend._broker.lease, asyncio.Event(), asyncio.Event()

    async def slow(*args: object, **options: object) -> list[Lease]:
        leases: list[Lease] = await lease(*args, **options)  # type: ignore[arg-type]
        if leases:
            asked.set()
            await answer.wait()
        return leases

    monkeypatch.setattr(frontend._broker, "lease", slow)
    job = await enqueue(broker)
    await asked.wait()
    frontend.stop()
    frontend.stop()
    await asyncio.sleep(0)
    answer.set()
    await floor.ended(frontend)
    assert await answered(broker, job)
    assert app.begun[job.id] == 1


async def test_one_that_waits_for_work_stops_at_once(
    floor: Floor, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LONGEST_WAIT_S", 60.0)
    app = Application()
    frontend = floor.start(app)
    await asyncio.sleep(0.2)
    frontend.stop()
    await floor.ended(frontend)
    await enqueue(broker)
    assert await depth_of(broker, MODEL) == (1, 0)


async def test_what_comes_while_the_engine_dies_is_run_by_another_and_does_not_count(
    floor: Floor, broker: Broker
) -> None:
    app, other = Application(), Application()
    frontend = floor.start(app)
    first = await enqueue(broker)
    await eventually(lambda: app.running == 1, "it takes jobs")
    await broker.cancel(MODEL, first.id)
    await eventually(lambda: app.running == 0, "and waits for the next one")
    app.dead = True
    job = await enqueue(broker)
    await floor.ended(frontend)
    assert app.begun[job.id] == 0
    other.go.set()
    floor.start(other)
    await all_answered(broker, [job])
    head = (await log_of(broker, job))[0]
    assert getattr(head, "attempts", None) == 1


async def test_what_does_not_end_in_time_is_given_back(floor: Floor, broker: Broker) -> None:
    app, other = Application(), Application()
    other.go.set()
    frontend = floor.start(app, settings=floor.settings.model_copy(update={"drain_timeout_s": 0.05, "lease_s": 60.0}))
    job = await enqueue(broker)
    await eventually(lambda: app.running == 1, "it runs")
    frontend.stop()
    await floor.ended(frontend)
    assert await depth_of(broker, MODEL) == (1, 0)
    floor.start(other)
    await all_answered(broker, [job])
    assert await text_of(broker, job) == b"done"


async def test_a_dead_engine_gives_its_jobs_to_another_worker(floor: Floor, broker: Broker) -> None:
    app, other = Application(), Application()
    settings = floor.settings.model_copy(update={"lease_s": 60.0})
    frontend = floor.start(app, settings=settings)
    jobs = [await enqueue(broker) for _ in range(3)]
    await eventually(lambda: app.running == 3, "they run")
    app.dead = True
    app.go.set()
    await floor.ended(frontend)
    assert await depth_of(broker, MODEL) == (3, 0)
    other.go.set()
    floor.start(other)
    await all_answered(broker, jobs)
    assert {await text_of(broker, job) for job in jobs} == {b"done"}
    head = (await log_of(broker, jobs[0]))[0]
    assert getattr(head, "attempts", None) == 2


async def test_what_had_begun_on_a_dead_engine_is_gone_on_with_by_another(floor: Floor, broker: Broker) -> None:
    app = Application()
    app.first_piece = True
    frontend = floor.start(app)
    job = await enqueue(broker, stream=True)

    async def begun() -> bool:
        return bool(await log_of(broker, job))

    await eventually(begun, "it has begun")
    app.dead = True
    app.go.set()
    await floor.ended(frontend)
    other = Application()
    other.first_piece = True
    other.go.set()
    floor.start(other)
    await all_answered(broker, [job])
    assert await text_of(broker, job) == b"begun\n\ndone"


async def test_an_engine_that_dies_idle_ends_the_frontend(floor: Floor) -> None:
    app = Application()
    frontend = floor.start(app)
    await asyncio.sleep(0)
    app.dead = True
    await floor.ended(frontend)


async def test_two_frontends_share_a_burst(floor: Floor, broker: Broker) -> None:
    first, second = Application(), Application()
    jobs = [await enqueue(broker) for _ in range(16)]
    for app in (first, second):
        floor.start(app, sequences=8)
    await eventually(lambda: first.running == second.running == 8, "both have as much as they can")
    for app in (first, second):
        app.go.set()
    await all_answered(broker, jobs)
    assert max((first.begun + second.begun).values()) == 1


async def test_a_frontend_that_is_cancelled_hands_its_jobs_over(floor: Floor, broker: Broker) -> None:
    first, second = Application(), Application()
    jobs = [await enqueue(broker) for _ in range(6)]
    frontend = floor.start(first, sequences=6)
    await eventually(lambda: first.running == 6, "they run")
    await floor.kill(frontend)
    assert first.running == 0
    second.go.set()
    floor.start(second)
    await all_answered(broker, jobs)
    assert {await text_of(broker, job) for job in jobs} == {b"done"}
    assert second.begun == Counter(job.id for job in jobs)


@pytest.mark.parametrize("part", ["", "begun\n\n"])
async def test_a_process_that_is_killed_loses_its_leases(
    floor: Floor, broker: Broker, settings: Settings, part: str
) -> None:
    script = Path(__file__).parent / "crashing_frontend.py"
    argv = [str(script), settings.redis_url, settings.redis_prefix, "0.5", part]
    root = str(Path(__file__).parents[2])
    process = await asyncio.create_subprocess_exec(
        sys.executable, *argv, cwd=root, env={"PYTHONPATH": f"{root}/server:{root}", "PATH": ""}
    )
    try:
        jobs = [await enqueue(broker, stream=True) for _ in range(4)]

        async def taken() -> bool:
            written = all([bool(await log_of(broker, job)) == bool(part) for job in jobs])
            return written and await depth_of(broker, MODEL) == (0, 4)

        await eventually(taken, "the process has taken them", within_s=30)
    finally:
        process.kill()
        await process.wait()
    app = Application()
    app.first_piece = bool(part)
    app.go.set()
    floor.start(app)

    async def reaped() -> bool:
        await broker.reap(MODEL)
        return await requeued(broker) == 4

    await eventually(reaped, "its leases ran out")
    await all_answered(broker, jobs)
    for job in jobs:
        assert app.begun[job.id] == 1
        assert await text_of(broker, job) == part.encode() + b"done"


async def test_a_worker_that_gets_its_own_lost_job_again_answers_once(floor: Floor, broker: Broker) -> None:
    """It was stopped for so long that its lease ran out; the first delivery must not write into the second."""
    app = Application()
    floor.start(app, settings=floor.settings.model_copy(update={"lease_s": 60.0}))
    job = await enqueue(broker)
    await eventually(lambda: app.running == 1, "it runs")
    await lapse(broker, job)
    await eventually(lambda: app.begun[job.id] == 2, "it has it again")
    await eventually(lambda: app.running == 1, "and runs it once")
    app.go.set()
    await all_answered(broker, [job])
    assert await text_of(broker, job) == b"done"
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_redis_errors_and_bugs_do_not_stop_a_frontend(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontends, "RETRY_S", 0.01)
    monkeypatch.setattr(intake, "RETRY_S", 0.01)
    app = Application()
    app.go.set()
    frontend = floor.start(app)
    failed: set[str] = set()

    def failing_once(name: str, error: Exception, work: Callable[..., Awaitable[object]]) -> Callable[..., object]:
        async def call(*args: object, **options: object) -> object:
            if name not in failed:
                failed.add(name)
                raise error
            return await work(*args, **options)

        return call

    for owner, name, error in (
        (frontend._broker, "lease", ValueError("never seen before")),
        (frontend._broker, "renew", ValueError("never seen before")),
        (frontend._directory, "announce", QueueUnavailable("down")),
    ):
        monkeypatch.setattr(owner, name, failing_once(name, error, getattr(owner, name)))
    app.go.clear()
    job = await enqueue(broker)
    await eventually(lambda: failed >= {"lease", "renew", "announce"} and app.running == 1, "all have failed once")
    key = broker.keys.leases(MODEL)
    before = await redis_client.zscore(key, job.id)

    async def renewed() -> bool:
        return bool(await redis_client.zscore(key, job.id) > before)

    await eventually(renewed, "its lease is still renewed")
    app.go.set()
    await all_answered(broker, [job])
    await all_answered(broker, [await enqueue(broker)])


async def test_damaged_jobs_stop_no_worker(floor: Floor, broker: Broker, redis_client: aioredis.Redis) -> None:
    app = Application()
    app.go.set()
    bad, gone, good = [await enqueue(broker) for _ in range(3)]
    await redis_client.hset(broker.keys.job(MODEL, bad.id), "meta", "garbage")
    await redis_client.set(broker.keys.job(MODEL, gone.id), "garbage")
    await redis_client.zadd(broker.keys.queue(MODEL), {b"\xff": 0})
    floor.start(app)
    await all_answered(broker, [bad, gone, good])
    assert dict(app.begun) == {good.id: 1}
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_a_document_is_answered_too(floor: Floor, broker: Broker) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"usage": {"total_tokens": 2}})(scope, receive, send)

    made = Application()
    made.__class__ = type("Documents", (Application,), {"__call__": staticmethod(app)})
    floor.start(made)
    job = await enqueue(broker)
    await all_answered(broker, [job])
    assert (await log_of(broker, job))[-1] == End({"total_tokens": 2})
