"""What a token costs on its way: CPU time of gateway, Redis and worker, with many streams at the pace of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from loadtests.processes import CLIENT, OTHERS
from loadtests.requests import Requests, Shape, Workload
from loadtests.round import SETTLE_S, run_round
from tessera.local.stack import free_port
from tessera.local.up import started
from tessera.settings import SIMULATED, Settings

# Each stream gets a token in so many milliseconds.
STEP_MS = 20.0
TOKENS = 100
# Requests that are built beyond those expected.
RESERVE = 1.5
# The parts in the order in which they are shown, as the report calls them.
PARTS = {"gateway": "gateway", "redis": "Redis", OTHERS: "worker", CLIENT: "load client"}


@dataclass(frozen=True, slots=True)
class Pace:
    """One number of streams.

    Attributes:
        tokens_per_s: that came; ``streams`` times 50 where nothing was short of CPU time.
        us_per_token: CPU time, by part.
        errors: what went wrong.
    """

    streams: int
    tokens_per_s: float
    us_per_token: dict[str, float]
    errors: dict[str, int]

    @property
    def kept(self) -> float:
        """Share of the engine's pace that was kept."""
        return self.tokens_per_s / (self.streams * 1000 / STEP_MS)


async def measure_paces(streams: Sequence[int], seconds: float, console: Console) -> list[Pace]:
    """Start a stack with a simulated engine, and load it with each number of streams.

    Args:
        seconds: that each is measured for.

    Raises:
        StartFailed: the stack did not come up.
    """
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": free_port(), "redis_url": "", "media_redis_url": ""}
    settings = Settings(
        **chosen,
        engine=SIMULATED,
        served_model_name=SIMULATED,
        simulated_decode_step_ms=STEP_MS,
        simulated_seats=max(streams),
    )
    requests = Requests(Shape(SIMULATED, TOKENS))
    paces = []
    async with started(settings, console, verbose=False):
        for number in streams:
            expected = number * (2 + (seconds + SETTLE_S) * 1000 / STEP_MS / TOKENS)
            built = requests.build(Workload.TEXT, f"127.0.0.1:{settings.port}", int(expected * RESERVE))
            done = await run_round(settings.host, settings.port, built, tokens=TOKENS, streams=number, seconds=seconds)
            rate = done.tokens_per_s
            costs = {
                PARTS[part]: 1e6 * cpu_s / done.window_s / rate for part, cpu_s in done.cpu_s.items() if part in PARTS
            }
            paces.append(Pace(number, rate, costs, dict(done.errors)))
    return paces
