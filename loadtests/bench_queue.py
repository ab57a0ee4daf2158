"""``python -m loadtests.bench_queue``: what a long queue costs, what a token costs, and what more workers bring."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import orjson
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.depth import Depth, measure_depths
from loadtests.fleet import Fleet, measure_fleets
from loadtests.paced import PARTS, Pace, measure_paces
from loadtests.processes import ROUTER
from tessera.local.stack import StartFailed, open_stack
from tessera.local.up import ended_by_signals
from tessera.settings import Settings

WIDTH = 130  # characters


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure; see the options."""

    depths: list[int]
    pairs: int
    streams: list[int]
    workers: list[int]
    seconds: float
    router: Path | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it."""

    queue: list[Depth]
    paces: list[Pace]
    fleets: list[Fleet]


def main(
    depths: Annotated[str, typer.Option(help="Numbers of waiting jobs, separated by commas.")] = "0,1000,100000",
    pairs: Annotated[int, typer.Option(min=100, help="Jobs queued and leased at each.")] = 2000,
    streams: Annotated[str, typer.Option(help="Numbers of paced streams, separated by commas.")] = "64,256,512",
    workers: Annotated[str, typer.Option(help="Numbers of simulated workers, separated by commas.")] = "1,4,16,32,64",
    seconds: Annotated[float, typer.Option(min=1.0, help="Time that each of them is measured for.")] = 15.0,
    router: Annotated[
        Path | None, typer.Option(help="Python of an environment with `sglang-router`, which is then measured as well.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
) -> None:
    """Measure, on this machine, with an append-only Redis. Exits with 1 where an answer was bad."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            plan = Plan(_numbers(depths), pairs, _numbers(streams), _numbers(workers), seconds, router)
            measured = runner.run(_measure(plan, console))
        except StartFailed as error:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(1) from error
    if measured is None:
        raise typer.Exit(130)
    _show(measured, console)
    if json is not None:
        report = {
            "cores": psutil.cpu_count(),
            "queue": [{"waiting": d.waiting, "p50_ms": d.p50_ms, "p99_ms": d.p99_ms} for d in measured.queue],
            "paced": [asdict(pace) for pace in measured.paces],
            "fleets": [asdict(fleet) for fleet in measured.fleets],
        }
        json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    if any(pace.errors for pace in measured.paces) or any(fleet.errors for fleet in measured.fleets):
        raise typer.Exit(1)


async def _measure(plan: Plan, console: Console) -> Measured | None:
    with ended_by_signals():
        async with open_stack(Settings(redis_url=""), verbose=False, tell=console.print) as stack:
            await stack.start_redis()
            queue = await measure_depths(stack.settings, plan.depths, plan.pairs)
        paces = await measure_paces(plan.streams, plan.seconds, plan.router, console)
        return Measured(queue, paces, await measure_fleets(plan.workers, plan.seconds, console))
    return None


def _show(measured: Measured, console: Console) -> None:
    depths = Table("jobs waiting", "p50, ms", "p99, ms", title="From enqueueing a job to leasing the first")
    for d in measured.queue:
        depths.add_row(f"{d.waiting:,}", f"{d.p50_ms:.2f}", f"{d.p99_ms:.2f}")
    console.print(depths)
    ways = len({pace.way for pace in measured.paces}) > 1
    parts = [part for part in PARTS.values() if ways or part != ROUTER]
    columns = [f"{part}, µs/token" for part in parts]
    tokens = Table("streams", "through", "tokens/s", "of the pace", *columns, title="CPU time of a token")
    for pace in measured.paces:
        costs = [f"{pace.us_per_token.get(part, 0):.0f}" for part in parts]
        tokens.add_row(str(pace.streams), pace.way, f"{pace.tokens_per_s:,.0f}", f"{pace.kept:.2f}", *costs)
    console.print(tokens)
    fleets = Table("workers", "tokens/s", "of what they could", "cores in use", title="Tokens by number of workers")
    for fleet in measured.fleets:
        fleets.add_row(str(fleet.workers), f"{fleet.tokens_per_s:,.0f}", f"{fleet.kept:.2f}", f"{fleet.cores:.2f}")
    console.print(fleets)
    wrong = [(f"{p.streams} streams, {p.way}", p.errors) for p in measured.paces]
    wrong += [(f"{fleet.workers} workers", fleet.errors) for fleet in measured.fleets]
    for where, errors in wrong:
        for error, number in errors.items():
            console.print(f"[red]ERROR[/] {where}: {number} × {error}", highlight=False)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    typer.run(main)
