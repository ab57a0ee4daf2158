"""``python -m loadtests.bench``: the gateway's cost, measured against the same engine called directly, in one run."""

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from loadtests import report
from loadtests.requests import Requests, Shape, Workload
from loadtests.round import SETTLE_S, Round, run_round
from loadtests.summary import Cell, Pair
from loadtests.target import Address, Target, own_stack
from tessera.local.stack import StartFailed
from tessera.local.up import ended_by_signals

WIDTH = 130  # characters
WARM_UP_S = 1.5
# Requests a second that are built for a warm-up.
WARM_UP_RATE = 300.0
# Requests that are built beyond those expected: rounds differ in speed.
RESERVE = 1.6


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    workloads: list[Workload]
    streams: list[int]
    rounds: int
    seconds: float
    tokens: int
    images: int


class Bench:
    """Measures one target, cell by cell. Rounds of the two sides alternate, because a machine's speed drifts."""

    def __init__(self, target: Target, plan: Plan, console: Console):
        self._target = target
        self._plan = plan
        self._console = console
        self._requests = Requests(Shape(target.model, plan.tokens, plan.images))

    async def run(self) -> list[Cell]:
        """Measure all cells. One with errors is the last."""
        cells: list[Cell] = []
        for workload in self._plan.workloads:
            for streams in self._plan.streams:
                cells.append(await self._cell(workload, streams))
                if cells[-1].errors:
                    return cells
        return cells

    async def _cell(self, workload: Workload, streams: int) -> Cell:
        pairs: list[Pair] = []
        # Twice: the first requests of a kind compile, and are too slow to tell how many requests a round needs.
        for seconds in (WARM_UP_S, WARM_UP_S):
            warm = await self._pair(workload, streams, seconds, WARM_UP_RATE, swapped=False)
            if warm.errors:
                return Cell(workload, streams, [warm])
        rate_per_s = max(warm.direct.requests_per_s, warm.gateway.requests_per_s)
        for i in range(self._plan.rounds):
            # Each side goes first as often as the other.
            pair = await self._pair(workload, streams, self._plan.seconds, rate_per_s, swapped=i % 2 == 1)
            pairs.append(pair)
            rate_per_s = max(rate_per_s, pair.direct.requests_per_s, pair.gateway.requests_per_s)
            self._tell(Cell(workload, streams, [pair]), i)
            if pair.errors:
                break
        return Cell(workload, streams, pairs)

    async def _pair(
        self, workload: Workload, streams: int, seconds: float, rate_per_s: float, *, swapped: bool
    ) -> Pair:
        number = streams + math.ceil((seconds + SETTLE_S) * rate_per_s * RESERVE)
        rounds: dict[Address, Round] = {}
        sides = [self._target.direct, self._target.gateway]
        for side in reversed(sides) if swapped else sides:
            requests = self._requests.build(workload, str(side), number)
            rounds[side] = await run_round(
                side.host, side.port, requests, tokens=self._plan.tokens, streams=streams, seconds=seconds
            )
        return Pair(rounds[self._target.direct], rounds[self._target.gateway])

    def _tell(self, cell: Cell, i: int) -> None:
        self._console.print(
            f"[dim]{cell.name}, round {i + 1}/{self._plan.rounds}: {cell.direct.requests_per_s:.0f} direct, "
            f"{cell.gateway.requests_per_s:.0f} gateway requests/s, ratio {cell.throughput_ratio.median:.2f}, "
            f"{cell.added_ttft_ms.median:+.1f} ms[/]",
            highlight=False,
        )


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side in each cell.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a round.")] = 5.0,
    streams: Annotated[str, typer.Option(help="Numbers of concurrent streams, separated by commas.")] = "1,16",
    tokens: Annotated[int, typer.Option(min=1, help="Output tokens of each request.")] = 16,
    images: Annotated[int, typer.Option(min=0, help="Distinct images, sent in rotation; 0: a new one each time.")] = 0,
    only: Annotated[Workload | None, typer.Option(help="Only this workload.")] = None,
    url: Annotated[str, typer.Option(help="Gateway of a running deployment; empty: a stack is started.")] = "",
    direct_url: Annotated[str, typer.Option(help="The engine's own address in that deployment.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model in that deployment.")] = "",
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
) -> None:
    """Compare requests through the gateway with requests to the engine itself. Exits with 1 where an answer was bad."""
    # In a file nothing is wrapped.
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    try:
        plan = Plan([only] if only else list(Workload), _counts(streams), rounds, seconds, tokens, images)
        opened = _target(url, direct_url, model, console)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            cells = runner.run(_measure(opened, plan, console))
        except StartFailed as error:
            console.print(f"[red]{error}[/]")
            raise typer.Exit(1) from error
    report.show(cells, console)
    if json is not None:
        options = {"rounds": rounds, "seconds": seconds, "tokens": tokens, "images": images, "url": url}
        report.write_json(cells, json, options)
    if not cells or any(cell.errors for cell in cells):
        raise typer.Exit(1)


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise ValueError("--streams: each number must be at least 1")
    return counts


def _target(url: str, direct_url: str, model: str, console: Console) -> AbstractAsyncContextManager[Target]:
    given = [bool(url), bool(direct_url), bool(model)]
    if not any(given):
        return own_stack(console)
    if not all(given):
        raise ValueError("--url, --direct-url and --model belong together")
    return nullcontext(Target(Address.parse(direct_url), Address.parse(url), model))


async def _measure(opened: AbstractAsyncContextManager[Target], plan: Plan, console: Console) -> list[Cell]:
    cells: list[Cell] = []
    with ended_by_signals():
        async with opened as target:
            cells = await Bench(target, plan, console).run()
    return cells


if __name__ == "__main__":
    typer.run(main)
