"""``python -m loadtests.bench_slow_readers``: what clients cost that do not read, and whether others notice them."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import orjson
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.processes import CLIENT, OTHERS, ProcessTimes
from loadtests.requests import Requests, Shape, Workload
from loadtests.round import SETTLE_S, Round, run_round
from loadtests.slow_readers import Reading, asking
from tessera.local.stack import StartFailed, free_port
from tessera.local.up import ended_by_signals, started
from tessera.settings import MIB, SIMULATED, Settings

WIDTH = 130  # characters
SAMPLE_EVERY_S = 0.5
# Of the clients that do read.
TOKENS = 64
# Requests that are built beyond those expected.
RESERVE = 2.0
_STALLED = "tessera_connections_stalled_total"
# The parts in the order in which they are shown, as the report calls them.
_PARTS = {"gateway": "gateway", OTHERS: "worker", "redis": "Redis"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Who reads how, and for how long.

    Attributes:
        slow: clients that read a byte a second.
        never: clients that do not read.
        tokens: of each of their answers.
        others: streams of clients that read at once.
        seconds: time in which those are measured: alone, beside as many that read, and beside the former.
        step_ms: the engine's time of a token.
        most_growth_bytes: of the gateway and of the worker for each client that does not read.
    """

    slow: int
    never: int
    tokens: int
    others: int
    seconds: float
    step_ms: float
    most_growth_bytes: int = MIB


@dataclass(slots=True)
class Memory:
    """Resident bytes by part: before the clients that do not read, and the most with them."""

    before: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def growth(self, part: str) -> int:
        """How much larger it became."""
        return self.most.get(part, 0) - self.before.get(part, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured.

    Attributes:
        rounds: of those that read at once, by what was beside them.
        cut: clients that the gateway cut off.
    """

    rounds: dict[str, Round]
    memory: Memory
    cut: int


def main(
    slow: Annotated[int, typer.Option(min=0, help="Clients that read a byte a second.")] = 200,
    never: Annotated[int, typer.Option(min=0, help="Clients that never read.")] = 200,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of each of their answers.")] = 4096,
    others: Annotated[int, typer.Option(min=1, help="Streams of clients that read at once.")] = 8,
    seconds: Annotated[float, typer.Option(min=1.0, help="Time in which those are measured, three times.")] = 120.0,
    step_ms: Annotated[float, typer.Option(min=1.0, help="The engine's time of a token.")] = 40.0,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
) -> None:
    """Measure, on this machine, with a simulated engine. TESSERA_CLIENT_STALL_S and the budgets apply.

    Exits with 1 where an answer was bad or a process grew by more than 1 MiB for each client that does not read.
    """
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    plan = Plan(slow, never, tokens, others, seconds, step_ms)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            outcome = runner.run(_measure(plan, console))
        except StartFailed as error:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(1) from error
    if outcome is None:
        raise typer.Exit(130)
    good = _show(outcome, plan, console)
    if json is not None:
        json.write_bytes(orjson.dumps(_report(outcome, plan), option=orjson.OPT_INDENT_2))
    if not good:
        raise typer.Exit(1)


async def _measure(plan: Plan, console: Console) -> Outcome | None:
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": free_port(), "redis_url": "", "media_redis_url": ""}
    settings = Settings(
        **chosen,
        engine=SIMULATED,
        served_model_name=SIMULATED,
        simulated_decode_step_ms=plan.step_ms,
        simulated_seats=plan.slow + plan.never + plan.others,
        simulated_kv_blocks=(plan.slow + plan.never + plan.others) * (plan.tokens // 16 + 8),
    )
    with ended_by_signals():
        async with started(settings, console, verbose=False):
            return await _run(plan, settings)
    return None


async def _run(plan: Plan, settings: Settings) -> Outcome:
    address = f"{settings.host}:{settings.port}"
    requests = Requests(Shape(SIMULATED, TOKENS))
    long = partial(Requests(Shape(SIMULATED, plan.tokens)).build, Workload.TEXT, address)

    async def measure() -> Round:
        expected = plan.others * (2 + (plan.seconds + SETTLE_S) * 1000 / plan.step_ms / TOKENS)
        built = requests.build(Workload.TEXT, address, int(expected * RESERVE))
        return await run_round(
            settings.host, settings.port, built, tokens=TOKENS, streams=plan.others, seconds=plan.seconds
        )

    rounds = {"nobody": await measure()}
    at = (settings.host, settings.port)
    async with asking(*at, long(plan.slow + plan.never), Reading.AT_ONCE):
        rounds["as many that read"] = await measure()
    async with (
        _watched() as memory,
        asking(*at, long(plan.slow), Reading.SLOWLY),
        asking(*at, long(plan.never), Reading.NEVER),
    ):
        rounds["those that do not"] = await measure()
        cut = await _metric(address, _STALLED)
    return Outcome(rounds, memory, cut)


@asynccontextmanager
async def _watched() -> AsyncIterator[Memory]:
    processes, memory = ProcessTimes(), Memory()
    memory.before = processes.resident_bytes()

    async def look() -> None:
        while True:
            for part, resident in processes.resident_bytes().items():
                memory.most[part] = max(memory.most.get(part, 0), resident)
            await asyncio.sleep(SAMPLE_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield memory
    finally:
        looking.cancel()


async def _metric(address: str, name: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}/metrics") as response:
        lines = (await response.text()).splitlines()
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")))


def _show(outcome: Outcome, plan: Plan, console: Console) -> bool:
    """Print everything. Returns whether nothing was wrong."""
    clients, memory = plan.slow + plan.never, outcome.memory
    table = Table("", "before, MiB", "most, MiB", "for each of them, KiB", title=f"Memory, with {clients} clients")
    for part, name in _PARTS.items():
        grown = memory.growth(part) / max(clients, 1) / 1024
        cells = (memory.before.get(part, 0) / MIB, memory.most.get(part, 0) / MIB, grown)
        table.add_row(name, *(f"{cell:,.0f}" for cell in cells))
    console.print(table)
    speeds = Table("beside", "tokens/s", "TTFT p50, ms", title=f"{plan.others} streams that are read at once")
    for name, round_ in outcome.rounds.items():
        ttft_ms = statistics.median(round_.ttft_ms) if round_.answers else float("nan")
        speeds.add_row(name, f"{round_.tokens_per_s:,.0f}", f"{ttft_ms:.1f}")
    console.print(speeds)
    console.print(f"The gateway cut off {outcome.cut} of the {clients}.", highlight=False)
    good = True
    for part in ("gateway", OTHERS):
        met = memory.growth(part) <= clients * plan.most_growth_bytes
        good &= met
        verdict = f"{_PARTS[part]}: at most {plan.most_growth_bytes / MIB:g} MiB for each client that does not read"
        console.print(f"{'[green]PASS[/]' if met else '[red]MISS[/]'}  {verdict}")
    for round_ in outcome.rounds.values():
        for error, number in round_.errors.items():
            good = False
            console.print(f"[red]ERROR[/] {number} × {error}", highlight=False)
    return good


def _report(outcome: Outcome, plan: Plan) -> dict[str, Any]:
    return {
        "cores": psutil.cpu_count(),
        "slow": plan.slow,
        "never": plan.never,
        "tokens": plan.tokens,
        "cut_off": outcome.cut,
        "resident_bytes": {
            name: {"before": outcome.memory.before.get(part, 0), "most": outcome.memory.most.get(part, 0)}
            for part, name in {**_PARTS, CLIENT: "load client"}.items()
        },
        "others": {name: {"tokens_per_s": r.tokens_per_s, "ttft_ms": r.ttft_ms} for name, r in outcome.rounds.items()},
    }


if __name__ == "__main__":
    typer.run(main)
