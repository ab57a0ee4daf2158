"""What a long queue costs: the time from a job's enqueueing to its lease, by the number of jobs that wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import quantiles

from tessera.queue import Append, Broker, End, Job, connect, new_job_id
from tessera.settings import Settings

MODEL = "bench"
GATEWAY = "bench-queue"
WORKER = "bench-worker"
BODY = b"x" * 1024
# Jobs that are queued at once, and how many each connection queues.
_CONNECTIONS = 32
# Pairs before those that are counted.
_WARM_UP = 50
_CONNECT_TIMEOUT_S = 30.0


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
    """Fill the queue of a model of its own, step by step, and measure at each.

    Args:
        settings: name the Redis.
        depths: numbers of waiting jobs, rising.
        pairs: calls that are measured at each.
    """
    most = max(depths) + pairs
    # Nothing ends by itself in the meantime, and there is room for all.
    room = {"max_queued_jobs": most, "max_queued_bytes": 1 << 40, "max_queued_bytes_in_all": 1 << 40}
    patient = settings.model_copy(
        update={**room, "queue_timeout_s": 3600.0, "lease_s": 3600.0, "redis_timeout_s": _CONNECT_TIMEOUT_S}
    )
    redis = connect(patient, name="bench")
    try:
        broker = Broker(redis, patient)
        measured, queued = [], 0
        for waiting in sorted(depths):
            await _fill(broker, waiting - queued)
            queued = waiting
            await _pairs(broker, _WARM_UP)
            measured.append(Depth(waiting, await _pairs(broker, pairs)))
        return measured
    finally:
        await redis.aclose()


async def _fill(broker: Broker, jobs: int) -> None:
    left = iter(range(jobs))

    async def queue() -> None:
        for _ in left:
            await broker.enqueue(_job(), reply_to=GATEWAY, lasting=True)

    await asyncio.gather(*(queue() for _ in range(_CONNECTIONS)))


async def _pairs(broker: Broker, number: int) -> list[float]:
    times_ms = []
    for _ in range(number):
        job = _job()
        began_s = time.perf_counter()
        await broker.enqueue(job, reply_to=GATEWAY, lasting=True)
        leased = await broker.lease(MODEL, WORKER, free=1, capacity=1, most=1)
        times_ms.append((time.perf_counter() - began_s) * 1000)
        [lease] = leased
        await broker.append(MODEL, [Append(lease.job.id, lease.epoch, 0, [End().encode()], True)])
    return times_ms


def _job() -> Job:
    return Job(new_job_id(), MODEL, "/v1/completions", BODY)
