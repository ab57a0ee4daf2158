"""``python -m loadtests.many_streams``: streams open at once through one gateway, and the memory that they take."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import aiohttp
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from tessera.local.stack import StartFailed, free_port
from tessera.local.up import started
from tessera.settings import MIB, SIMULATED, Settings

# What a command line must contain, and what the process is then called.
_PARTS = {"tessera gateway": "gateway", "tessera worker": "worker", "/redis.sock": "Redis"}
_LOOK_S = 0.5
# Descriptors of this process beside the connections.
_SPARE_DESCRIPTORS = 256
# A prompt and an answer, in blocks of the simulated engine's KV cache.
_BLOCKS_A_STREAM = 8
# Of prompts, in a step of the engine, beside the streams' own.
_SPARE_TOKENS = 8192


@dataclass
class Crowd:
    """What came of the streams.

    Attributes:
        open: streams that have begun and not ended.
        most_open: the most of these at once.
        rest_bytes: memory of each part before the first stream.
        most_bytes: the most of each while they were open.
        errors: what went wrong, and how often.
    """

    open: int = 0
    most_open: int = 0
    complete: int = 0
    rest_bytes: dict[str, int] = field(default_factory=dict)
    most_bytes: dict[str, int] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)


def main(
    streams: Annotated[int, typer.Option(min=1, help="Streams to have open at once.")] = 10_000,
    step: Annotated[float, typer.Option(min=0.01, help="Seconds between two tokens of a stream.")] = 4.0,
    per_second: Annotated[float, typer.Option(min=1, help="Streams that are opened in a second.")] = 250.0,
) -> None:
    """Open streams one after the other, slow ones, until all are open. Exits with 1 where one was not, or not whole."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    # As long as it takes to open them all on a machine that opens less than half as many a second, and some more.
    tokens = 5 + int(streams / per_second / step * 2.5)
    try:
        crowd = uvloop.run(_measure(streams, step, per_second, tokens, console))
    except StartFailed as error:
        console.print(f"[red]{error}[/]")
        raise typer.Exit(1) from error
    _show(crowd, streams, console)
    if crowd.errors or crowd.complete < streams or crowd.most_open < streams:
        raise typer.Exit(1)


async def _measure(streams: int, step_s: float, per_second: float, tokens: int, console: Console) -> Crowd:
    _allow_connections(streams)
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": free_port(), "redis_url": "", "media_redis_url": ""}
    settings = Settings(
        **chosen,
        engine=SIMULATED,
        served_model_name=SIMULATED,
        simulated_decode_step_ms=1000 * step_s,
        simulated_seats=streams,
        simulated_kv_blocks=streams * _BLOCKS_A_STREAM,
        # A token of each stream and some prompts: one step takes them all.
        simulated_batch_tokens=2 * streams + _SPARE_TOKENS,
        max_queued_jobs=streams,
        max_connections=streams + _SPARE_DESCRIPTORS,
    )
    crowd = Crowd()
    async with started(settings, console, verbose=False):
        crowd.rest_bytes = _memory()
        watching = asyncio.create_task(_watch(crowd))
        limits = aiohttp.ClientTimeout(total=None, sock_read=30 + 4 * step_s)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=limits, connector=connector) as http, asyncio.TaskGroup() as tasks:
            for number in range(streams):
                tasks.create_task(_stream(f"http://127.0.0.1:{settings.port}", http, number, tokens, crowd))
                await asyncio.sleep(1 / per_second)
        watching.cancel()
    return crowd


def _allow_connections(streams: int) -> None:
    needed = streams + _SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        with suppress(ValueError, OSError):  # what is missing shows as errors
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))


async def _stream(url: str, http: aiohttp.ClientSession, number: int, tokens: int, crowd: Crowd) -> None:
    body = {"model": SIMULATED, "prompt": f"Stream {number}.", "max_tokens": tokens, "stream": True}
    came = 0
    try:
        async with http.post(f"{url}/v1/completions", json=body) as response:
            if response.status != 200:
                crowd.errors[f"status {response.status}"] += 1
                return
            async for line in response.content:
                if line.startswith(b"data: {"):
                    came += 1
                    if came == 1:
                        crowd.open += 1
                        crowd.most_open = max(crowd.most_open, crowd.open)
    except (aiohttp.ClientError, TimeoutError) as error:
        crowd.errors[type(error).__name__] += 1
    finally:
        crowd.open -= came > 0
    if came < tokens:
        crowd.errors["not whole"] += 1
    else:
        crowd.complete += 1


async def _watch(crowd: Crowd) -> None:
    while True:
        for part, nbytes in (await asyncio.to_thread(_memory)).items():
            crowd.most_bytes[part] = max(nbytes, crowd.most_bytes.get(part, 0))
        await asyncio.sleep(_LOOK_S)


def _memory() -> dict[str, int]:
    """Resident memory of each part of the stack that this process started."""
    found: dict[str, int] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            for mark, part in _PARTS.items():
                if mark in command:
                    found[part] = found.get(part, 0) + process.memory_info().rss
    return found


def _show(crowd: Crowd, streams: int, console: Console) -> None:
    table = Table("", "MiB before", "MiB at the most", "KiB a stream")
    for part, most in crowd.most_bytes.items():
        rest = crowd.rest_bytes.get(part, 0)
        each = (most - rest) / max(crowd.most_open, 1) / 1024
        table.add_row(part, f"{rest / MIB:.0f}", f"{most / MIB:.0f}", f"{each:.1f}")
    console.print(table)
    console.print(f"{crowd.complete:,} of {streams:,} whole; {crowd.most_open:,} open at once", highlight=False)
    for error, number in crowd.errors.items():
        console.print(f"[red]{number:,} {error}[/]", highlight=False)


if __name__ == "__main__":
    typer.run(main)
