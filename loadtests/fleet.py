"""Whether twice as many workers do twice as much: fleets of simulated engines behind one gateway and one queue."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from rich.console import Console

from loadtests.client import Connection
from loadtests.processes import ProcessTimes
from loadtests.requests import Requests, Shape, Workload
from loadtests.response import BadAnswer
from tessera.local.stack import free_port
from tessera.local.up import started
from tessera.settings import SIMULATED, Settings

# Each worker has so many seats, and a sequence on one gets a token in so many milliseconds.
SEATS = 4
STEP_MS = 50.0
# For each seat one stream whose request runs, and half of one whose request waits: no seat is empty for want of work.
_STREAMS_A_SEAT = 1.5
_TOKENS = 40
# Before it is counted: the first answers are complete.
_SETTLE_S = 6.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many workers at work.

    Attributes:
        tokens_per_s: of the answers that ended while it was measured.
        cores: that the whole machine used of its own, on average.
        errors: what went wrong.
    """

    workers: int
    tokens_per_s: float
    cores: float
    errors: dict[str, int]

    @property
    def kept(self) -> float:
        """Share of what the engines could do if no seat were ever empty."""
        return self.tokens_per_s / (self.workers * SEATS * 1000 / STEP_MS)


async def measure_fleets(workers: Sequence[int], seconds: float, console: Console) -> list[Fleet]:
    """Start a stack for each number of workers, and load it for so many seconds.

    Raises:
        StartFailed: a stack did not come up.
    """
    return [await _fleet(number, seconds, console) for number in workers]


async def _fleet(workers: int, seconds: float, console: Console) -> Fleet:
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": free_port(), "redis_url": "", "media_redis_url": ""}
    settings = Settings(
        **chosen,
        engine=SIMULATED,
        served_model_name=SIMULATED,
        replicas=workers,
        simulated_decode_step_ms=STEP_MS,
        simulated_seats=SEATS,
    )
    streams = int(workers * SEATS * _STREAMS_A_SEAT)
    async with started(settings, console, verbose=False):
        requests = Requests(Shape(SIMULATED, _TOKENS))
        host = f"127.0.0.1:{settings.port}"
        ends: list[float] = []
        errors: Counter[str] = Counter()

        async def stream(number: int) -> None:
            # One after the other, over the time of an answer: what ends, ends evenly.
            await asyncio.sleep(number / streams * _TOKENS * STEP_MS / 1000)
            try:
                with await Connection.open(settings.host, settings.port) as connection:
                    while True:
                        [request] = requests.build(Workload.TEXT, host, 1)
                        ends.append((await connection.exchange(request, _TOKENS)).ended_s)
            except (BadAnswer, OSError) as error:
                errors[str(error) or type(error).__name__] += 1

        tasks = [asyncio.create_task(stream(number)) for number in range(streams)]
        try:
            await asyncio.sleep(_SETTLE_S)
            busy_s, began_s = ProcessTimes.machine(), time.perf_counter()
            await asyncio.sleep(seconds)
            took_s, busy_s = time.perf_counter() - began_s, ProcessTimes.machine() - busy_s
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        counted = sorted(end for end in ends if began_s <= end < began_s + took_s)
        # From one end to another: a part of an answer at either edge would count for much where workers are few.
        rate_per_s = (len(counted) - 1) / (counted[-1] - counted[0]) if len(counted) > 1 else 0.0
        return Fleet(workers, rate_per_s * _TOKENS, min(busy_s / took_s, psutil.cpu_count() or 1), dict(errors))
