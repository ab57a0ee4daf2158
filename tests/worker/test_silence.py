"""A worker that stands still for a while, or whose Redis does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from tessera.queue import Broker, Data, End, connect
from tessera.settings import Settings
from tessera.worker import frontend as frontends
from tessera.worker import intake
from tests.polling import eventually
from tests.queue.corner import depth_of
from tests.queue.redis_process import RedisProcess
from tests.worker.blocked_frontend import BlockedFrontend
from tests.worker.floor import Application, Floor, all_answered
from tests.worker.jobs import GATEWAY, MODEL, enqueue, lapse, log_of, text_of

LEASE_S = 600


class Clock:
    def __init__(self) -> None:
        self.later_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.later_s


@pytest.fixture
def blocked(settings: Settings) -> Iterator[BlockedFrontend]:
    """Its leases run out only where a test says so."""
    frontend = BlockedFrontend(settings.model_copy(update={"lease_s": LEASE_S}))
    yield frontend
    frontend.end()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The workers' clock."""
    clock = Clock()
    monkeypatch.setattr(frontends, "time", clock)
    return clock


async def claim_is_over(redis: aioredis.Redis) -> None:
    """Wait until nothing can be given to a worker that stands still."""

    async def over() -> bool:
        known = await redis.client_list()
        return not any(each["name"] == "tessera-blocked" and "b" in each["flags"] for each in known)

    await eventually(over, "its claim has waited for long enough")


async def test_a_worker_whose_loop_stands_still_goes_on_with_what_nobody_else_has_taken(
    clock: Clock, blocked: BlockedFrontend, broker: Broker, redis_client: aioredis.Redis, settings: Settings
) -> None:
    job = await enqueue(broker)

    async def held() -> bool:
        return await depth_of(broker, MODEL) == (0, 1)

    await eventually(lambda: blocked.begun[job.id] == 1, "it runs")
    for _ in range(settings.max_attempts + 1):
        blocked.block()
        await claim_is_over(redis_client)
        await lapse(broker, job)
        clock.later_s += LEASE_S
        blocked.unblock()
        await eventually(held, "it holds the job again")
    blocked.go.set()
    await all_answered(broker, [job])
    assert await text_of(broker, job) == b"done"
    assert blocked.begun[job.id] == 1


async def test_what_a_worker_whose_loop_stands_still_had_not_begun_is_run_elsewhere(
    clock: Clock, blocked: BlockedFrontend, floor: Floor, broker: Broker, redis_client: aioredis.Redis
) -> None:
    job = await enqueue(broker)
    await eventually(lambda: blocked.begun[job.id] == 1, "it runs")
    blocked.block()
    await claim_is_over(redis_client)
    await lapse(broker, job)
    app = Application()
    floor.start(app)
    await eventually(lambda: app.running == 1, "another worker has it")
    clock.later_s += LEASE_S
    blocked.unblock()
    await eventually(lambda: blocked.running == 0, "the first has dropped it")
    app.go.set()
    await all_answered(broker, [job])
    assert (await log_of(broker, job))[1:] == [Data(b"done"), End()]


async def test_a_worker_ends_what_the_last_gateway_left_behind(
    floor: Floor, broker: Broker, redis_client: aioredis.Redis
) -> None:
    app = Application()
    floor.start(app)
    await enqueue(broker)
    await eventually(lambda: app.running == 1, "it runs")
    await redis_client.zadd(broker.keys.gateways(MODEL), {GATEWAY: 1})
    await eventually(lambda: app.running == 0, "it is dropped")
    assert await depth_of(broker, MODEL) == (0, 0)


async def test_an_outage_of_redis_is_told_once_when_it_begins_and_once_when_it_is_over(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontends, "RETRY_S", 0.01)
    monkeypatch.setattr(intake, "RETRY_S", 0.01)
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
