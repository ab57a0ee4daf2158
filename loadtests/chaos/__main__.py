"""``python -m loadtests.chaos``: harm a server under load, or replace it, and count what is lost; keep the counts."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.chaos import page as pages
from loadtests.chaos import record
from loadtests.chaos.release import checked_out
from loadtests.chaos.rolling import roll
from loadtests.chaos.run import Plan, run
from loadtests.chaos.server import Size
from loadtests.chaos.tally import Tally
from tessera.settings import SIMULATED, VLLM

app = typer.Typer(add_completion=False)

# A real engine needs most of a minute to start, and a core while it does.
USUAL = {
    SIMULATED: Plan(kills=0, seconds=0, pause_s=0.8, streams=36, size=Size(workers=12, lease_s=2.0)),
    VLLM: Plan(kills=0, seconds=0, pause_s=4.0, streams=10, size=Size(workers=2, lease_s=5.0)),
}


@app.command()
def harm(
    kills: Annotated[int, typer.Option(min=1, help="Processes to kill; then it ends.")] = 2000,
    minutes: Annotated[float, typer.Option(min=0.1, help="Longest time for that.")] = 10.0,
    engine: Annotated[
        Literal["simulated", "vllm"], typer.Option(help="Simulated engines, or real vLLM with the embedded model.")
    ] = SIMULATED,
    pause: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds between two faults, on average.", show_default="0.8; vllm: 4")
    ] = None,
    streams: Annotated[
        int | None, typer.Option(min=1, help="Requests under way at once.", show_default="36; vllm: 10")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=2, help="Workers; of vLLM replicas.", show_default="12; vllm: 2")
    ] = None,
    gateways: Annotated[int, typer.Option(min=2, help="Gateways.")] = 2,
    lease: Annotated[float | None, typer.Option(min=0.5, help="TESSERA_LEASE_S.", show_default="2; vllm: 5")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="TESSERA_MAX_ATTEMPTS.")] = 3,
    fsync: Annotated[Literal["always", "everysec"], typer.Option(help="Redis' appendfsync.")] = "always",
    seed: Annotated[int | None, typer.Option(help="Of all that is random; left out: another one each time.")] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder for the logs, to be kept; must be short and empty.")] = None,
    keep: Annotated[bool, typer.Option(help="Add the counts to results.json.")] = False,
) -> None:
    """Kill parts of a server under load, at random. Ctrl-C ends it early.

    Exits with 1 where something was lost, repeated or changed.
    """
    console = Console()
    usual = USUAL[engine]
    size = Size(
        gateways=gateways,
        workers=workers or usual.size.workers,
        lease_s=lease or usual.size.lease_s,
        max_attempts=attempts,
        fsync=fsync,
        engine=engine,
    )
    chosen = time.time_ns() if seed is None else seed
    plan = Plan(kills, minutes * 60, pause or usual.pause_s, streams or usual.streams, chosen, size)
    console.print(f"Seed {chosen}", highlight=False)
    began_s = time.monotonic()
    tally = uvloop.run(run(plan, logs, lambda tally: _tell(tally, console)))
    _show(tally, console)
    if keep:
        record.append(record.record_of(plan, tally, time.monotonic() - began_s))
    if not tally.clean:
        raise typer.Exit(1)


@app.command(name="roll")
def roll_(
    rounds: Annotated[
        int | None, typer.Option(min=1, help="How often everything is replaced.", show_default="5; vllm: 1")
    ] = None,
    engine: Annotated[
        Literal["simulated", "vllm"],
        typer.Option(help="Simulated engines, or real vLLM with the embedded model: minutes for each worker."),
    ] = SIMULATED,
    streams: Annotated[
        int | None, typer.Option(min=1, help="Requests under way at once.", show_default="36; vllm: 10")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=2, help="Workers.", show_default="6; vllm: 2")] = None,
    gateways: Annotated[int, typer.Option(min=2, help="Gateways.")] = 3,
    drain: Annotated[
        float, typer.Option(min=0, help="TESSERA_DRAIN_TIMEOUT_S of workers; answers take up to 5 s.")
    ] = 2.0,
    revision: Annotated[
        str, typer.Option("--from", help="Commit whose code everything runs at first; left out: this one's.")
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Of all that is random; left out: another one each time.")] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder for the logs, to be kept; must be short and empty.")] = None,
) -> None:
    """Replace every gateway and worker under load, one after the other, as a rolling update does.

    Exits with 1 where a client noticed anything.
    """
    console, chosen = Console(), time.time_ns() if seed is None else seed
    real = engine == VLLM
    size = Size(
        gateways,
        workers or (2 if real else 6),
        lease_s=5.0 if real else 2.0,
        drain_s=drain,
        gateway_drain_s=60.0,
        gateway_notice_s=3.0,
        engine=engine,
        apart=real,
    )
    console.print(f"Seed {chosen}", highlight=False)
    with ExitStack() as stack:
        tree = None
        if revision:
            scratch = stack.enter_context(TemporaryDirectory(prefix="t-"))
            tree = stack.enter_context(checked_out(revision, Path(scratch) / "tree"))
        plan = Plan(0, 0, streams=streams or (10 if real else 36), seed=chosen, size=size, tree=tree)
        act = partial(roll, rounds=rounds or (1 if real else 5))
        tally = uvloop.run(run(plan, logs, lambda tally: _tell(tally, console), act))
    _show(tally, console)
    if not tally.unnoticed:
        raise typer.Exit(1)


@app.command()
def page() -> None:
    """Write the counts of all runs that were kept into docs/reliability.md and README.md."""
    pages.write()


def _tell(tally: Tally, console: Console) -> None:
    wrong = f"{tally.lost} lost, {tally.missing} tokens missing, {tally.duplicated} twice, {tally.differing} differ"
    console.print(f"{tally.kills} kills, {tally.sent} requests: {wrong}", highlight=False)


def _show(tally: Tally, console: Console) -> None:
    counts = Table("", "number", title="Counts")
    zeros = {"lost": tally.lost, "tokens missing": tally.missing, "tokens sent twice": tally.duplicated}
    zeros["answers that differ"] = tally.differing
    numbers = {"processes killed": tally.kills, "requests sent": tally.sent, "answered": tally.answered}
    numbers |= {f"failed with {code}": number for code, number in tally.failed.most_common()}
    numbers |= {f"told to come again, {code}": number for code, number in tally.refused.most_common()}
    numbers["tried elsewhere, since no gateway took the connection"] = tally.unreachable
    numbers |= {"sent again elsewhere": tally.asked_again, "joined by a key": tally.joined}
    numbers["picked up elsewhere"] = tally.picked_up
    if tally.unsteady:
        numbers["questions left out, since they have two answers in peace"] = tally.unsteady
    for name, number in numbers.items():
        counts.add_row(name, f"{number:,}")
    for name, number in zeros.items():
        counts.add_row(name, f"[{'red' if number else 'green'}]{number:,}[/]")
    console.print(counts)
    gaps = Table("fault", "times", "streams", "p50, s", "p99, s", "longest, s", title="To the next token")
    told = tally.to_json()["gaps_s"]
    for kind, times in sorted(tally.strikes.items()):
        gap = told.get(kind)
        cells = [f"{gap[name]:g}" for name in ("streams", "p50", "p99", "most")] if gap else ["-"] * 4
        gaps.add_row(kind, str(times), *cells)
    console.print(gaps)
    for what in tally.seen:
        console.print(f"[red]{what}[/]", highlight=False)


if __name__ == "__main__":
    app()
