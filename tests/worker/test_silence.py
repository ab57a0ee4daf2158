"""A worker that stands still for a while, or whose Redis does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from tessera.queue import Broker, Data, End, connect
from tessera.settings import Settings
from tessera.worker import frontend as frontends
from tests.polling import eventually
from tests.queue.redis_process import RedisProcess
from tests.worker.blocked_frontend import BlockedFrontend
from tests.worker.floor import Application, Floor, all_answered
from tests.worker.jobs import MODEL, enqueue, log_of, text_of


@pytest.fixture
def blocked(settings: Settings) -> Iterator[BlockedFrontend]:
    frontend = BlockedFrontend(settings.model_copy(update={"lease_s": 0.5}))
    yield frontend
    frontend.end()


async def lapsed(broker: Broker) -> None:
    async def back() -> bool:
        await broker.reap(MODEL)
        return await broker.depth(MODEL) == (1, 0)

    await eventually(back, "its lease has run out")


async def test_a_worker_whose_loop_stands_still_goes_on_with_what_nobody_else_has_taken(
    blocked: BlockedFrontend, broker: Broker, settings: Settings
) -> None:
    job = await enqueue(broker)

    async def held() -> bool:
        return await broker.depth(MODEL) == (0, 1)

    await eventually(lambda: blocked.begun[job.id] == 1, "it runs")
    for _ in range(settings.max_attempts + 1):
        blocked.block()
        await lapsed(broker)
        blocked.unblock()
        await eventually(held, "it holds the job again")
    blocked.go.set()
    await all_answered(broker, [job])
    assert await text_of(broker, job) == b"done"
    assert blocked.begun[job.id] == 1


async def test_what_a_worker_whose_loop_stands_still_had_not_begun_is_run_elsewhere(
    blocked: BlockedFrontend, floor: Floor, broker: Broker
) -> None:
    job = await enqueue(broker)
    await eventually(lambda: blocked.begun[job.id] == 1, "it runs")
    blocked.block()
    await lapsed(broker)
    app = Application()
    floor.start(app)
    await eventually(lambda: app.running == 1, "another worker has it")
    blocked.unblock()
    await eventually(lambda: blocked.running == 0, "the first has dropped it", within_s=2)
    app.go.set()
    await all_answered(broker, [job])
    assert (await log_of(broker, job))[1:] == [Data(b"done"), End()]


async def test_an_outage_of_redis_is_told_once_when_it_begins_and_once_when_it_is_over(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontends, "RETRY_S", 0.01)
    settings = Settings(redis_url=own_redis.url, redis_timeout_s=0.3, lease_s=0.4)
    async with AsyncExitStack() as stack:
        client = connect(settings, name="test")
        stack.push_async_callback(client.aclose)
        broker, app = Broker(client, settings), Application()
        app.first_piece = True
        frontend = Floor(settings, stack).start(app)
        job = await enqueue(broker)
        await eventually(lambda: app.running == 1, "it runs")
        failures: Counter[str] = Counter()
        tell = frontend._outage.failed

        def count(activity: str, error: Exception) -> None:
            failures[activity] += 1
            tell(activity, error)

        monkeypatch.setattr(frontend._outage, "failed", count)
        with capture_logs() as logs:
            await client.replicaof("127.0.0.1", 1)  # it can be read, not written
            for activity in ("lease", "renew", "announce"):
                await eventually(lambda a=activity: failures[a] > 2, f"{activity} has failed")  # type: ignore[misc]
            await client.replicaof("NO", "ONE")
            app.go.set()
            await all_answered(broker, [job])
            await eventually(lambda: "queue_reached" in [line["event"] for line in logs], "all of it works again")
        assert await text_of(broker, job) == b"begun\n\ndone"
    told = [line for line in logs if line["event"] in ("queue_unreachable", "queue_reached")]
    assert [line["event"] for line in told] == ["queue_unreachable", "queue_reached"]
    assert told[1]["seconds"] > 0
