"""``python -m loadtests.fuzz``: send damaged media, or bombs, to a gateway, and print what came of it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.fuzz.blast import blast
from loadtests.fuzz.bombs import bombs as make_bombs
from loadtests.fuzz.run import Outcome, run
from tessera.settings import MIB

app = typer.Typer(add_completion=False)


@app.command()
def files(
    number: Annotated[int, typer.Option(min=1, help="Damaged files to send.")] = 50_000,
    seed: Annotated[int | None, typer.Option(help="Of all that is random; left out: another one each time.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder for files that were answered as none should be.")] = None,
) -> None:
    """Send damaged media. Exits with 1 where anything but 200 and 400 came, or the gateway grew."""
    console = Console()
    chosen = time.time_ns() if seed is None else seed
    console.print(f"Seed {chosen}", highlight=False)
    outcome = uvloop.run(run(number, chosen))
    _show(outcome, console)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for number, (_, _, data) in enumerate(outcome.bad):
            (keep / f"{chosen}-{number}").write_bytes(data)
    if not outcome.clean:
        raise typer.Exit(1)


@app.command()
def bombs(quick: Annotated[bool, typer.Option(help="Without those that take seconds to make.")] = False) -> None:
    """Send small files that ask for much. Exits with 1 where one was not refused in time, or the gateway grew."""
    console = Console(width=120)
    damage = uvloop.run(blast(make_bombs(quick=quick)))
    table = Table("bomb", "bytes", "answer", "seconds")
    for blow in damage.blows:
        table.add_row(blow.name, f"{blow.nbytes:,}", f"{blow.status} {blow.code}", f"{blow.seconds:.2f}")
    console.print(table)
    for name, notice in (("before", damage.before), ("during", damage.during)):
        livez_ms, gap_ms = notice.p99_ms()
        console.print(f"p99 {name}: /livez {livez_ms:.1f} ms, between two tokens {gap_ms:.1f} ms", highlight=False)
    rest, most = damage.rest_bytes / MIB, damage.most_bytes / MIB
    console.print(f"Memory of the gateway: {rest:.0f} MiB, at the most {most:.0f} MiB", highlight=False)
    if not damage.clean:
        raise typer.Exit(1)


def _show(outcome: Outcome, console: Console) -> None:
    total: Counter[str] = Counter()
    for counts in outcome.by_format.values():
        total += counts
    answers = [answer for answer, _ in total.most_common()]
    table = Table("format", *answers, title="Answers")
    for name, counts in outcome.by_format.items():
        table.add_row(name, *(f"{counts[answer]:,}" for answer in answers))
    table.add_section()
    table.add_row("all", *(f"{total[answer]:,}" for answer in answers))
    console.print(table)
    ends = ", ".join(f"{number} {reason}" for reason, number in sorted(outcome.ends.items())) or "none"
    console.print(f"Processes that decoded and were ended: {ends}", highlight=False)
    memory = " → ".join(f"{nbytes / MIB:.0f}" for nbytes in outcome.memory_bytes)
    console.print(f"Memory of the gateway, MiB: {memory}", highlight=False)
    for name, came, data in outcome.bad[:20]:
        console.print(f"[red]{name}, {len(data)} bytes: {came}[/]", highlight=False)


if __name__ == "__main__":
    app()
