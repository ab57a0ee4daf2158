"""What a run shows: a table of both sides, CPU time by process, verdicts, errors; and the same as JSON."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
from rich.console import Console
from rich.table import Table

from loadtests.processes import CLIENT
from loadtests.summary import Cell, Side, Spread

# Above this share of a core the load client itself holds both sides back.
HEAVY_CLIENT = 0.25
# Cores taken by programs that have nothing to do with the run.
BUSY_CORES = 0.2


def show(cells: Sequence[Cell], console: Console) -> None:
    """Print everything."""
    console.print(_results(cells))
    if _own(cells):
        console.print(_cpu(cells))
    for cell in cells:
        for text, met in cell.verdicts():
            console.print(f"{'[green]PASS[/]' if met else '[red]MISS[/]'}  {text}")
    _conditions(cells, console)
    for cell in cells:
        for name, side in (("direct", cell.direct), ("gateway", cell.gateway)):
            for error, number in side.errors.most_common(5):
                console.print(f"[red]ERROR[/] {cell.name}, {name}: {number} × {error}", highlight=False, markup=True)


def write_json(cells: Sequence[Cell], path: Path, run: dict[str, Any]) -> None:
    """Write the report file.

    Args:
        run: the options of the run.
    """
    machine = {"cores": psutil.cpu_count(), "processor": platform.processor() or platform.machine()}
    document = {"run": run, "machine": machine, "cells": [cell.to_json() for cell in cells]}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _own(cells: Sequence[Cell]) -> bool:
    """Whether the stack was started by this run: then its processes were watched as well."""
    return any(len(cell.direct.cpu_ms_per_request) > 1 for cell in cells)


def _conditions(cells: Sequence[Cell], console: Console) -> None:
    sides = [side for cell in cells for side in (cell.direct, cell.gateway)]
    heaviest = max((side.client_share for side in sides), default=0.0)
    warning = " [red](heavy: it holds both sides back)[/]" if heaviest > HEAVY_CLIENT else ""
    console.print(f"The load client took at most {heaviest:.0%} of one core{warning}.", highlight=False)
    if _own(cells):
        foreign = max(side.foreign_cores for side in sides)
        warning = " [red](a busy machine: repeat this)[/]" if foreign > BUSY_CORES else ""
        line = f"Other programs took up to {foreign:.2f} of {psutil.cpu_count()} cores{warning}."
        console.print(line, highlight=False)


def _results(cells: Sequence[Cell]) -> Table:
    table = Table("", title="Through the gateway, compared with the engine called directly")
    for heading in ("requests/s", "tokens/s", "TTFT p50 ms", "TTFT p99 ms", "events/request"):
        table.add_column(heading, justify="right")
    for cell in cells:
        table.add_section()
        table.add_row(f"[bold]{cell.name}[/]")
        table.add_row("  direct", *_numbers(cell.direct))
        table.add_row("  gateway", *_numbers(cell.gateway))
        ratio, added = cell.throughput_ratio, cell.added_ttft_ms
        table.add_row("  gateway / direct", _spread(ratio, ".2f"), "", _spread(added, "+.1f") + " ms", "", "")
    return table


def _numbers(side: Side) -> list[str]:
    return [
        f"{side.requests_per_s:.1f}",
        f"{side.tokens_per_s:.0f}",
        f"{side.ttft_p50_ms:.1f}",
        f"{side.ttft_p99_ms:.1f}",
        f"{side.events_per_request:.1f}",
    ]


def _spread(spread: Spread, digits: str) -> str:
    return f"{spread.median:{digits}} ({spread.low:{digits}} … {spread.high:{digits}})"


def _cpu(cells: Sequence[Cell]) -> Table:
    parts = list(dict.fromkeys(part for cell in cells for part in cell.gateway.cpu_ms_per_request))
    # The client last: it is not a part of the server.
    parts.sort(key=lambda part: (part == CLIENT, part))
    table = Table("", title="CPU milliseconds per request, direct → gateway")
    for cell in cells:
        table.add_column(cell.name, justify="right")
    for part in parts:
        table.add_row(part, *(_change(cell, [part]) for cell in cells))
    table.add_section()
    table.add_row("[bold]all[/]", *(_change(cell, parts) for cell in cells))
    return table


def _change(cell: Cell, parts: Sequence[str]) -> str:
    direct, gateway = (
        sum(side.cpu_ms_per_request.get(part, 0.0) for part in parts) for side in (cell.direct, cell.gateway)
    )
    return f"{direct:.2f} → {gateway:.2f}"
