"""``python -m loadtests.bench_queue``: what a long queue costs, and what a token costs on its way."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.depth import Depth, measure_depths
from loadtests.paced import PARTS, Pace, measure_paces
from tessera.local.stack import StartFailed, open_stack
from tessera.local.up import ended_by_signals
from tessera.settings import Settings

WIDTH = 130  # characters


def main(
    depths: Annotated[str, typer.Option(help="Numbers of waiting jobs, separated by commas.")] = "0,1000,100000",
    pairs: Annotated[int, typer.Option(min=100, help="Jobs queued and leased at each.")] = 2000,
    streams: Annotated[str, typer.Option(help="Numbers of paced streams, separated by commas.")] = "64,256,512",
    seconds: Annotated[float, typer.Option(min=1.0, help="Time that each of them is measured for.")] = 15.0,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
) -> None:
    """Measure, on this machine, with an append-only Redis. Exits with 1 where an answer was bad."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            measured = runner.run(_measure(_numbers(depths), pairs, _numbers(streams), seconds, console))
        except StartFailed as error:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(1) from error
    if measured is None:
        raise typer.Exit(130)
    queue, paces = measured
    _show(queue, paces, console)
    if json is not None:
        report = {
            "cores": psutil.cpu_count(),
            "queue": [{"waiting": d.waiting, "p50_ms": d.p50_ms, "p99_ms": d.p99_ms} for d in queue],
            "paced": [asdict(pace) for pace in paces],
        }
        json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    if any(pace.errors for pace in paces):
        raise typer.Exit(1)


async def _measure(
    depths: list[int], pairs: int, streams: list[int], seconds: float, console: Console
) -> tuple[list[Depth], list[Pace]] | None:
    with ended_by_signals():
        async with open_stack(Settings(redis_url=""), verbose=False, tell=console.print) as stack:
            await stack.start_redis()
            queue = await measure_depths(stack.settings, depths, pairs)
        return queue, await measure_paces(streams, seconds, console)
    return None


def _show(queue: list[Depth], paces: list[Pace], console: Console) -> None:
    depths = Table("jobs waiting", "p50, ms", "p99, ms", title="From enqueueing a job to leasing the first")
    for d in queue:
        depths.add_row(f"{d.waiting:,}", f"{d.p50_ms:.2f}", f"{d.p99_ms:.2f}")
    console.print(depths)
    columns = [f"{part}, µs/token" for part in PARTS.values()]
    tokens = Table("streams", "tokens/s", "of the pace", *columns, title="CPU time of a token")
    for pace in paces:
        costs = [f"{pace.us_per_token.get(part, 0):.0f}" for part in PARTS.values()]
        tokens.add_row(str(pace.streams), f"{pace.tokens_per_s:,.0f}", f"{pace.kept:.2f}", *costs)
    console.print(tokens)
    for pace in paces:
        for error, number in pace.errors.items():
            console.print(f"[red]ERROR[/] {pace.streams} streams: {number} × {error}", highlight=False)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    typer.run(main)
