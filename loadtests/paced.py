"""What a token costs on its way: CPU time of each part, with many streams at the pace of an engine.

The same load goes through the gateway and, where there is one, through another project's router, to one simulated
engine.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtests.client import Connection
from loadtests.processes import CLIENT, OTHERS, ROUTER, ProcessTimes
from loadtests.requests import Requests, Shape, Workload
from loadtests.response import BadAnswer
from loadtests.router import router
from loadtests.target import Address
from tessera.local.stack import free_port
from tessera.local.up import started
from tessera.settings import SIMULATED, Settings

# Each stream gets a token in so many milliseconds.
STEP_MS = 20.0
TOKENS = 100
GATEWAY = "gateway"
# The parts in the order in which they are shown, as the report calls them.
PARTS = {GATEWAY: GATEWAY, ROUTER: ROUTER, "redis": "Redis", OTHERS: "worker", CLIENT: "load client"}


@dataclass(frozen=True, slots=True)
class Pace:
    """One number of streams, on one way.

    Attributes:
        way: what stands before the engine, the gateway or the router.
        tokens_per_s: that came; ``streams`` times 50 where nothing was short of CPU time.
        us_per_token: CPU time, by part.
        errors: what went wrong.
    """

    way: str
    streams: int
    tokens_per_s: float
    us_per_token: dict[str, float]
    errors: dict[str, int]

    @property
    def kept(self) -> float:
        """Share of the engine's pace that was kept."""
        return self.tokens_per_s / (self.streams * 1000 / STEP_MS)


async def measure_paces(streams: Sequence[int], seconds: float, python: Path | None, console: Console) -> list[Pace]:
    """Start a stack with a simulated engine, and load it with each number of streams, on each way in turn.

    Args:
        seconds: that each takes where the pace is kept.
        python: of the virtual environment that has the other router; None: it is left out.

    Raises:
        StartFailed: something did not come up.
    """
    requests = Requests(Shape(SIMULATED, TOKENS))
    each = math.ceil(seconds * 1000 / STEP_MS / TOKENS)
    async with _ways(max(streams), python, console) as ways:
        return [await _pace(way, ways[way], requests, number, each) for number in streams for way in ways]


@asynccontextmanager
async def _ways(most: int, python: Path | None, console: Console) -> AsyncIterator[dict[str, Address]]:
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": free_port(), "engine_port": free_port()}
    settings = Settings(
        **chosen,
        redis_url="",
        media_redis_url="",
        engine=SIMULATED,
        served_model_name=SIMULATED,
        simulated_decode_step_ms=STEP_MS,
        simulated_seats=most,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(started(settings, console, verbose=False))
        ways = {GATEWAY: Address(settings.host, settings.port)}
        if python is not None:
            backend = Address(settings.host, settings.engine_port)
            ways[ROUTER] = await stack.enter_async_context(router(python, backend))
        yield ways


async def _pace(way: str, address: Address, requests: Requests, streams: int, each: int) -> Pace:
    """From the first request to the last answer: nothing of what is counted was done at another time."""
    built = iter(requests.build(Workload.TEXT, str(address), streams * each))
    errors: Counter[str] = Counter()
    tokens = 0

    async def stream() -> None:
        nonlocal tokens
        try:
            with await Connection.open(address.host, address.port) as connection:
                for _ in range(each):
                    answer = await connection.exchange(next(built), TOKENS)
                    tokens += answer.tokens
        except (BadAnswer, OSError) as error:
            errors[str(error) or type(error).__name__] += 1

    times = ProcessTimes()
    before, began_s = times.read(), time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(streams)))
    after, took_s = times.read(), time.perf_counter() - began_s
    cost = {
        PARTS[part]: 1e6 * (cpu_s - before[part]) / max(tokens, 1) for part, cpu_s in after.items() if part in PARTS
    }
    return Pace(way, streams, tokens / took_s, cost, dict(errors))
