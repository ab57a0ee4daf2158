"""What a long queue costs: the time from a job's enqueueing to its lease, by the number of jobs that wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import quantiles

import redis.asyncio as aioredis

from tessera.queue import Append, Broker, End, Job, connect, new_job_id
from tessera.settings import Settings

GATEWAY = "bench-queue"
WORKER = "bench-worker"
BODY = b"x" * 1024
# Jobs that are queued at once.
_CONNECTIONS = 32
# Pairs before those that are counted.
_WARM_UP = 50
_CONNECT_TIMEOUT_S = 30.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Depth:
    """Times with so many jobs waiting: of two calls, one that queues a job and one that takes the first.

    Attributes:
        times_ms: of each pair.
    """

    waiting: int
    times_ms: list[float]

    @property
    def p50_ms(self) -> float:
        """Median."""
        return quantiles(self.times_ms, n=100)[49]

    @property
    def p99_ms(self) -> float:
        """99th percentile."""
        return quantiles(self.times_ms, n=100)[98]


async def measure_depths(settings: Settings, depths: list[int], pairs: int) -> list[Depth]:
    """Fill the queues of several models, and measure them in turn: whatever else the machine does concerns all of them.

    Args:
        settings: name the Redis.
        depths: numbers of waiting jobs.
        pairs: calls that are measured at each.
    """
    most = max(depths) + 1
    # Nothing ends by itself in the meantime, and there is room for all.
    room = {"max_queued_jobs": most, "max_queued_bytes": 1 << 40, "max_queued_bytes_in_all": 1 << 40}
    patient = settings.model_copy(
        update={**room, "queue_timeout_s": 3600.0, "lease_s": 3600.0, "redis_timeout_s": _CONNECT_TIMEOUT_S}
    )
    redis = connect(patient, name="bench")
    try:
        broker = Broker(redis, patient)
        for waiting in depths:
            await _fill(broker, waiting)
        await _settle(redis)
        measured = [Depth(waiting, []) for waiting in depths]
        for i in range(_WARM_UP + pairs):
            for depth in measured:
                took_ms = await _pair(broker, model_of(depth.waiting))
                if i >= _WARM_UP:
                    depth.times_ms.append(took_ms)
        return measured
    finally:
        await redis.aclose()


def model_of(waiting: int) -> str:
    """The model whose queue has so many jobs."""
    return f"bench-{waiting}"


async def _fill(broker: Broker, jobs: int) -> None:
    left = iter(range(jobs))

    async def queue() -> None:
        for _ in left:
            await broker.enqueue(_job(model_of(jobs)), reply_to=GATEWAY, lasting=True)

    await asyncio.gather(*(queue() for _ in range(_CONNECTIONS)))


async def _settle(redis: aioredis.Redis) -> None:
    """Redis rewrites its file when it has grown, which takes a core while it lasts."""
    while (await redis.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110  # another process is waited for
        await asyncio.sleep(_POLL_S)


async def _pair(broker: Broker, model: str) -> float:
    """Milliseconds from queueing a job to having the first one."""
    began_s = time.perf_counter()
    await broker.enqueue(_job(model), reply_to=GATEWAY, lasting=True)
    [lease] = await broker.lease(model, WORKER, free=1, capacity=1, most=1)
    took_ms = (time.perf_counter() - began_s) * 1000
    await broker.append(model, [Append(lease.job.id, lease.epoch, 0, [End().encode()], True)])
    return took_ms


def _job(model: str) -> Job:
    return Job(new_job_id(), model, "/v1/completions", BODY)
