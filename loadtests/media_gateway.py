"""What media costs on its way through a real gateway: time to the queue, and what others notice while it decodes."""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.table import Table

from loadtests.chaos.server import Server, Size, running
from loadtests.client import Connection
from loadtests.media_load import MediaLoad
from loadtests.processes import StolenTime
from loadtests.requests import Requests, Shape, Workload
from loadtests.summary import percentile
from tessera.gateway.app import create_app
from tessera.gateway.server import GatewayServer
from tessera.memory import give_back_freed_memory, keep_for_good
from tessera.settings import SIMULATED, Settings

TOKENS = 4
# What the event loop is asked to be woken for, and how far a text request is behind the one before.
TICK_S = 0.005
EVERY_S = 0.01
# An engine that takes no time for a prompt: texts that wait for a clip's tokens would all be answered in one burst.
_PROMPTS_AT_ONCE = {"simulated_prefill_tokens_per_s": 1e9, "simulated_encode_tokens_per_s": 1e9}
_OPTIONS: dict[str, Any] = {"media_redis": True, "more": _PROMPTS_AT_ONCE}
# Requests of each kind in a row, so that what the machine does meanwhile concerns all kinds.
_IN_A_ROW = 20
_TICKS = "ticks.f64"
_SIZE = Size(gateways=1, workers=1, lease_s=10.0, fsync="everysec", small=False, step_ms=0.1)
_TEXT = "text"
# What this version is called, where another is measured beside it.
_THIS = ""


@dataclass
class Way:
    """Seconds of one kind of request: to the queue, and to the first token."""

    queue_s: list[float] = field(default_factory=list)
    ttft_s: list[float] = field(default_factory=list)


@dataclass
class Notice:
    """Seconds.

    Attributes:
        late_s: how late the gateway's event loop was.
        work_s: how long its thread computed between two looks, on whatever else the machine did.
        ttft_s: text requests' time to first token.
        decoded: items meanwhile.
    """

    late_s: list[float] = field(default_factory=list)
    work_s: list[float] = field(default_factory=list)
    ttft_s: list[float] = field(default_factory=list)
    decoded: int = 0


@dataclass
class Report:
    """Of one run.

    Attributes:
        paths: by version and kind of request, at one stream; this version's name is empty.
        quiet, loaded: without and with media that is decoded meanwhile.
        stolen: part of the cores' time that the machine did not get; it shows in all times.
    """

    paths: dict[tuple[str, str], Way]
    quiet: Notice
    loaded: Notice
    stolen: float

    def to_json(self) -> dict[str, Any]:
        """Percentiles, ms."""
        return {
            "stolen": self.stolen,
            "to_queue_ms": {_row(*at): _percentiles(path.queue_s) for at, path in self.paths.items()},
            "to_first_token_ms": {_row(*at): _percentiles(path.ttft_s) for at, path in self.paths.items()},
            **{
                name: {
                    "event_loop_late_ms": _percentiles(notice.late_s),
                    "event_loop_work_ms": _percentiles(notice.work_s),
                    "text_ttft_ms": _percentiles(notice.ttft_s),
                    "decoded": notice.decoded,
                }
                for name, notice in (("quiet", self.quiet), ("loaded", self.loaded))
            },
        }


async def measure(requests: int, seconds: float, others: Mapping[str, Path] = MappingProxyType({})) -> Report:
    """Start a server with a simulated engine, and measure.

    Args:
        requests: of each kind.
        seconds: of load, and of none.
        others: trees of other versions, by what they are called, which are asked in turn, but get no such load.
    """
    with tempfile.TemporaryDirectory(prefix="tm") as folder:
        ticks = Path(folder) / _TICKS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:
            watched = partial(run_watched_gateway, ticks)
            server_runs = running(_SIZE, Path(folder), http, gateway=watched, **_OPTIONS)
            async with server_runs as server, MediaLoad() as load:
                stolen = StolenTime()
                async with AsyncExitStack() as stack:
                    servers = {_THIS: server}
                    for name, tree in others.items():
                        servers[name] = await stack.enter_async_context(_other_version(tree, http))
                    paths = await _paths(servers, requests)
                quiet, loaded = Notice(), Notice()
                async with _watching(server, ticks, quiet):
                    await asyncio.sleep(seconds)
                async with _watching(server, ticks, loaded):
                    loaded.decoded = await load.send(server.gateways[0][0], seconds)
                return Report(paths, quiet, loaded, stolen.share())


@asynccontextmanager
async def _other_version(tree: Path, http: aiohttp.ClientSession) -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="tm") as folder:
        async with running(_SIZE, Path(folder), http, tree=tree, **_OPTIONS) as server:
            yield server


def run_watched_gateway(ticks: Path, settings: Settings) -> None:
    """``tessera gateway``, which also writes down how late its event loop is and how long it worked, floats in s."""
    give_back_freed_memory()
    server = _Watched(ticks, settings)
    keep_for_good()
    server.run()


class _Watched(GatewayServer):
    def __init__(self, ticks: Path, settings: Settings):
        super().__init__(create_app(settings), settings)
        self._file = ticks
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watch = asyncio.create_task(self._write())

    async def _write(self) -> None:
        with self._file.open("ab", buffering=0) as file:
            while True:
                due, worked = time.perf_counter() + TICK_S, time.thread_time()
                await asyncio.sleep(TICK_S)
                tick = time.perf_counter() - due, time.thread_time() - worked
                file.write(array("d", tick).tobytes())


async def _paths(servers: Mapping[str, Server], requests: int) -> dict[tuple[str, str], Way]:
    """One stream, which asks one server after the other."""
    known, new = (Requests(Shape(SIMULATED, TOKENS, images=images)) for images in (1, 0))
    kinds: dict[str, Callable[[str], list[bytes]]] = {
        _TEXT: lambda host: new.build(Workload.TEXT, host, _IN_A_ROW),
        "image seen before": lambda host: known.build(Workload.IMAGE, host, _IN_A_ROW),
        "new image": lambda host: new.build(Workload.IMAGE, host, _IN_A_ROW),
    }
    paths = {(version, kind): Way() for version in servers for kind in kinds}
    for number in range(-1, -(-requests // _IN_A_ROW)):
        for kind, build in kinds.items():
            for version in sorted(servers, reverse=bool(number % 2)):
                # The first ones fill pools.
                way = paths[version, kind] if number >= 0 else Way()
                await _go(servers[version], build, way)
    return paths


async def _go(server: Server, build: Callable[[str], list[bytes]], way: Way) -> None:
    url = urlsplit(server.gateways[0][0])
    host = str(url.hostname)
    with await Connection.open(host, int(url.port or 80)) as connection:
        for request in build(host):
            began_s = time.time()
            answer = await connection.exchange(request, TOKENS)
            way.queue_s.append(await server.queued_s(answer.job_id) - began_s)
            way.ttft_s.append(answer.ttft_s)


@asynccontextmanager
async def _watching(server: Server, ticks: Path, notice: Notice) -> AsyncIterator[None]:
    """Send a text request each ``EVERY_S``, whether or not the one before has been answered."""
    url = urlsplit(server.gateways[0][0])
    before = len(_ticks(ticks))
    texts = asyncio.create_task(_send_texts(str(url.hostname), int(url.port or 80), notice))
    try:
        yield
    finally:
        texts.cancel()
        await asyncio.wait([texts])
    seen = _ticks(ticks)[before:]
    notice.late_s, notice.work_s = [late for late, _ in seen], [work for _, work in seen]


def _ticks(file: Path) -> list[tuple[float, float]]:
    content = file.read_bytes()
    return list(struct.iter_unpack("2d", content[: len(content) // 16 * 16]))


async def _send_texts(host: str, port: int, notice: Notice) -> None:
    requests = Requests(Shape(SIMULATED, TOKENS))
    idle: list[Connection] = []

    async def send(request: bytes) -> None:
        connection = idle.pop() if idle else await Connection.open(host, port)
        notice.ttft_s.append((await connection.exchange(request, TOKENS)).ttft_s)
        idle.append(connection)

    due = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(send(requests.build(Workload.TEXT, host, 1)[0]))
            due += EVERY_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{percent}": 1000 * percentile(seconds, percent) for percent in (50, 99)}


def _row(version: str, kind: str) -> str:
    return f"{kind}, {version}" if version else kind


def show(report: Report, console: Console) -> None:
    """Print it."""
    table = Table("one stream", "to the queue, p50", "more than text", "p99", "to the first token, p50", "p99")
    for (version, kind), path in report.paths.items():
        queue, first = ([1000 * percentile(times, p) for p in (50, 99)] for times in (path.queue_s, path.ttft_s))
        more = queue[0] - 1000 * percentile(report.paths[version, _TEXT].queue_s, 50)
        shown = (queue[0], more if kind != _TEXT else None, queue[1], *first)
        table.add_row(_row(version, kind), *("" if ms is None else f"{ms:.2f} ms" for ms in shown))
    console.print(table)
    console.print(f"{report.stolen:.1%} of the cores' time was stolen.", highlight=False)
    columns = (
        "event loop late, p50",
        "p99",
        "its own work at a stretch, p99",
        "most",
        "text's first token, p50",
        "p99",
    )
    table = Table("a text request each 10 ms", *columns)
    loaded = f"while media is decoded ({report.loaded.decoded} items)"
    for name, notice in (("alone", report.quiet), (loaded, report.loaded)):
        measured = ((notice.late_s, (50, 99)), (notice.work_s, (99, 100)), (notice.ttft_s, (50, 99)))
        times = [1000 * percentile(times, p) for times, percents in measured for p in percents]
        table.add_row(name, *(f"{ms:.2f} ms" for ms in times))
    console.print(table)
