"""``python -m loadtests.bench_batch``: whether people notice a batch, and whether it loses a line when all die."""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from loadtests.chaos.server import Server, Size, running, until
from loadtests.client import Connection
from loadtests.processes import StolenTime
from loadtests.requests import Requests, Shape, Workload
from loadtests.response import BadAnswer
from loadtests.summary import percentile
from tessera.batch_client.run import ENDED, RETRY_S
from tessera.batch_client.server import Server as BatchServer
from tessera.batch_client.server import Unreachable
from tessera.local.up import ended_by_signals
from tessera.settings import MIB, SIMULATED
from tessera.worker.simulated.speech import Voice

WIDTH = 130  # characters
# Of people's answers, and of those to lines.
TOKENS = 8
POLL_S = 0.5
# People's time to first token beside a batch, as a multiple of that without one.
MOST_LONGER = 1.1
_ENDPOINT = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        lines: of the batch.
        every_s: a person's request is so far behind the one before, however long that takes.
        seconds: of people alone, before the batch and after it.
        step_ms: the engine's time of a token.
        harm: kill and restart the worker, the gateways and Redis when a third of the lines is answered.
    """

    lines: int
    every_s: float
    seconds: float
    step_ms: float
    harm: bool


@dataclass(slots=True)
class People:
    """Who ask while somebody else's batch runs: seconds to each first token, and what went wrong."""

    ttft_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured.

    Attributes:
        alone, beside: people without the batch, and while it ran.
        took_s: from the batch's beginning to its end.
        wrong: what is wrong with its answers; empty: each line has one, in order.
        gateway_bytes: resident, of both gateways, before the batch and at the most.
        stolen: part of the cores' time that the machine did not get while the batch ran; it shows in the p99.
    """

    alone: People
    beside: People
    took_s: float
    wrong: str
    gateway_bytes: tuple[int, int]
    stolen: float = 0.0


def main(
    lines: Annotated[int, typer.Option(min=1, help="Requests of the batch.")] = 20_000,
    every_ms: Annotated[float, typer.Option(min=1.0, help="A person's request comes so often.")] = 100.0,
    seconds: Annotated[float, typer.Option(min=1.0, help="Time of people alone, before the batch and after.")] = 30.0,
    step_ms: Annotated[float, typer.Option(min=1.0, help="The engine's time of a token.")] = 20.0,
    harm: Annotated[
        bool, typer.Option(help="Kill and restart everything in the middle; people are not measured.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
) -> None:
    """Measure, on this machine, with two gateways and a simulated engine.

    Exits with 1 where a line has no answer, or another one's, and without ``--harm`` where people wait for their first
    token more than a tenth longer (p99).
    """
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    plan = Plan(lines, every_ms / 1000, seconds, step_ms, harm)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_measure(plan))
    if outcome is None:
        raise typer.Exit(130)
    good = _show(outcome, plan, console)
    if json is not None:
        json.write_bytes(orjson.dumps(_report(outcome, plan), option=orjson.OPT_INDENT_2))
    if not good:
        raise typer.Exit(1)


async def _measure(plan: Plan) -> Outcome | None:
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="tb") as name:
        folder = Path(name)
        async with aiohttp.ClientSession() as http:
            size = Size(gateways=2, workers=1, fsync="everysec", small=False, step_ms=plan.step_ms)
            more = {"files_store_url": (folder / "store").as_uri()}
            async with running(size, folder, http, more=more) as server:
                return await _run(plan, server, folder)
    return None


async def _run(plan: Plan, server: Server, folder: Path) -> Outcome:
    path = folder / "in.jsonl"
    await asyncio.to_thread(_write, path, server.model, plan.lines)
    alone, beside = People(), People()
    if not plan.harm:
        async with _asking(server, plan, alone):
            await asyncio.sleep(plan.seconds)
    before = most = _resident(server)
    # The files of one gateway are those of the other.
    async with BatchServer.open(server.gateways[0][0], "") as batches:
        file_id = await batches.upload(path)
        began_s, stolen = time.monotonic(), StolenTime()
        batch = await batches.begin(file_id, _ENDPOINT)
        harmed = not plan.harm
        async with _asking(server, plan, beside):
            while batch["status"] not in ENDED:
                await asyncio.sleep(POLL_S)
                most = max(most, _resident(server))
                try:
                    batch = await batches.find(batch["id"])
                except Unreachable:
                    await asyncio.sleep(RETRY_S)
                if not harmed and batch["request_counts"]["completed"] >= plan.lines // 3:
                    harmed = True
                    await _kill_all(server)
        took_s, stolen_share = time.monotonic() - began_s, stolen.share()
        wrong = await _wrong(batches, batch, plan.lines, folder / "out.jsonl")
    if not plan.harm:
        async with _asking(server, plan, alone):
            await asyncio.sleep(plan.seconds)
    return Outcome(alone, beside, took_s, wrong, (before, most), stolen_share)


def _prompt(number: int) -> str:
    return f"Number {number}"


def _write(path: Path, model: str, lines: int) -> None:
    with path.open("wb") as file:
        for n in range(lines):
            body = {"model": model, "prompt": _prompt(n), "max_tokens": TOKENS, "ignore_eos": True}
            file.write(orjson.dumps({"custom_id": f"r{n}", "method": "POST", "url": _ENDPOINT, "body": body}) + b"\n")


@asynccontextmanager
async def _asking(server: Server, plan: Plan, people: People) -> AsyncIterator[None]:
    """People ask while the context lasts; after it, what they asked is answered."""
    url = urlsplit(server.gateways[1][0])
    host, port = str(url.hostname), int(url.port or 80)
    requests, idle = Requests(Shape(SIMULATED, TOKENS)), list[Connection]()
    over = asyncio.Event()

    async def ask(request: bytes) -> None:
        try:
            connection = idle.pop() if idle else await Connection.open(host, port)
            people.ttft_s.append((await connection.exchange(request, TOKENS)).ttft_s)
        except (BadAnswer, OSError) as error:
            people.errors[str(error)] += 1
        else:
            idle.append(connection)

    async def keep_asking() -> None:
        due = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            while not over.is_set():
                tasks.create_task(ask(requests.build(Workload.TEXT, host, 1)[0]))
                due += plan.every_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async with asyncio.TaskGroup() as tasks:
        if not plan.harm:
            tasks.create_task(keep_asking())
        yield
        over.set()


async def _kill_all(server: Server) -> None:
    """``kill -9`` of everything at once, and a start of everything."""
    for _, gateway in server.gateways:
        gateway.kill()
    server.redis.kill()
    server.redis.start()
    await until(server.redis_answers)
    for worker in server.fleet.workers:
        await worker.harm("worker killed", random.Random())
        await worker.settled()
    for _, gateway in server.gateways:
        await asyncio.to_thread(gateway.start)


def _resident(server: Server) -> int:
    try:
        return sum(psutil.Process(gateway.pid).memory_info().rss for _, gateway in server.gateways)
    except psutil.NoSuchProcess:
        return 0


async def _wrong(batches: BatchServer, batch: dict[str, Any], lines: int, path: Path) -> str:
    """What is wrong with a batch's answers."""
    counts = (batch["status"], batch["request_counts"]["completed"], batch["error_file_id"])
    if counts != ("completed", lines, None):
        return f"it ended as `{batch['status']}`, with {batch['request_counts']}"
    await batches.download(batch["output_file_id"], path)
    found = 0
    with path.open("rb") as file:
        for raw in file:
            answer = orjson.loads(raw)
            if answer["custom_id"] != f"r{found}":
                return f"answer {found} is that of {answer['custom_id']}"
            voice = Voice(_prompt(found).encode(), 0)
            text = answer["response"]["body"]["choices"][0]["text"]
            if text != "".join(map(voice.token, range(TOKENS))):
                return f"the answer of r{found} is not its own:{text}"
            found += 1
    return "" if found == lines else f"{lines - found} lines have no answer"


def _show(outcome: Outcome, plan: Plan, console: Console) -> bool:
    """Print everything. Returns whether nothing was wrong."""
    before, most = (nbytes / MIB for nbytes in outcome.gateway_bytes)
    console.print(
        f"{plan.lines} lines in {outcome.took_s:.1f} s, {plan.lines / outcome.took_s:.0f} a second; two gateways took "
        f"{before:.0f} MiB before, {most:.0f} MiB at the most; {outcome.stolen:.1%} of the cores' time was stolen.",
        highlight=False,
    )
    good, verdict = not outcome.wrong, outcome.wrong or "each line is answered once, in the order of the input"
    console.print(f"{'[green]PASS[/]' if good else '[red]MISS[/]'}  {verdict}", highlight=False)
    if plan.harm:
        return good
    table = Table("people", "requests", "TTFT p50, ms", "p99, ms")
    for name, people in (("alone", outcome.alone), ("beside the batch", outcome.beside)):
        p50 = statistics.median(people.ttft_s) if people.ttft_s else float("nan")
        p99 = percentile(people.ttft_s, 99)
        table.add_row(name, str(len(people.ttft_s)), f"{1000 * p50:.1f}", f"{1000 * p99:.1f}")
        for error, number in people.errors.items():
            good = False
            console.print(f"[red]ERROR[/] {number} × {error}", highlight=False)
    console.print(table)
    ratio = percentile(outcome.beside.ttft_s, 99) / percentile(outcome.alone.ttft_s, 99)
    met = ratio <= MOST_LONGER
    console.print(
        f"{'[green]PASS[/]' if met else '[red]MISS[/]'}  p99 beside the batch is {ratio:.2f} times that without "
        f"(target: at most {MOST_LONGER})",
        highlight=False,
    )
    return good and met


def _report(outcome: Outcome, plan: Plan) -> dict[str, Any]:
    return {
        "cores": psutil.cpu_count(),
        "lines": plan.lines,
        "seconds": outcome.took_s,
        "wrong": outcome.wrong,
        "stolen": outcome.stolen,
        "gateway_bytes": {"before": outcome.gateway_bytes[0], "most": outcome.gateway_bytes[1]},
        "people_ttft_ms": {
            name: {f"p{p}": 1000 * percentile(people.ttft_s, p) for p in (50, 99)}
            for name, people in (("alone", outcome.alone), ("beside", outcome.beside))
            if people.ttft_s
        },
    }


if __name__ == "__main__":
    typer.run(main)
