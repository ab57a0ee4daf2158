"""Bombs, sent to a real gateway while others use it: what comes back, and what the others notice."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from loadtests.chaos.server import Size, running
from loadtests.fuzz.bombs import Bomb
from loadtests.fuzz.corpus import part_of
from loadtests.summary import percentile
from tessera.settings import MIB, SIMULATED, Settings

AT_ONCE = 2
PROBE_S = 0.02
STEP_MS = 20.0
# Decoding ends at the deadline, and the rest of a request takes its time too.
SLACK_S = 5.0
# The bombs themselves are held as they come: a body, its base64, its bytes.
MOST_GROWTH_BYTES = 128 * MIB
_QUIET_S = 3.0
_JSON = {"Content-Type": "application/json"}
_EXPECTED = (200, 400)


@dataclass(frozen=True, slots=True)
class Blow:
    """What one bomb came to."""

    name: str
    nbytes: int
    status: int
    code: str
    seconds: float


@dataclass
class Notice:
    """What others noticed: seconds that ``/livez`` took, and between two tokens of a stream."""

    livez_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)

    def p99_ms(self) -> tuple[float, float]:
        """Of each."""
        return 1000 * percentile(self.livez_s, 99), 1000 * percentile(self.gaps_s, 99)


@dataclass
class Damage:
    """What all of them came to.

    Attributes:
        rest_bytes: memory of the gateway before them.
        most_bytes: the most that it had during them.
    """

    blows: list[Blow] = field(default_factory=list)
    before: Notice = field(default_factory=Notice)
    during: Notice = field(default_factory=Notice)
    rest_bytes: int = 0
    most_bytes: int = 0

    @property
    def clean(self) -> bool:
        """Each was answered in time and as it should be, and the gateway hardly grew."""
        limit_s = Settings().media_decode_timeout_s + SLACK_S
        answered = all(blow.status in _EXPECTED and blow.seconds < limit_s for blow in self.blows)
        return answered and self.most_bytes - self.rest_bytes < MOST_GROWTH_BYTES


async def blast(bombs: Iterable[Bomb]) -> Damage:
    """Send bombs, two at a time."""
    damage = Damage()
    with tempfile.TemporaryDirectory(prefix="tb") as folder:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:
            size = Size(gateways=1, workers=1, lease_s=30.0, fsync="everysec", step_ms=STEP_MS)
            async with running(size, Path(folder), http) as server:
                (url, gateway), *_ = server.gateways
                process = psutil.Process(gateway.pid)
                # Sized and filled by then: caches, pools, and what was imported late.
                await _watched(asyncio.sleep(_QUIET_S), url, http, damage.before)
                damage.rest_bytes = process.memory_info().rss
                memory = asyncio.create_task(_watch_memory(process, damage))
                await _watched(_send(list(bombs), url, http, damage), url, http, damage.during)
                memory.cancel()
    return damage


async def _send(bombs: list[Bomb], url: str, http: aiohttp.ClientSession, damage: Damage) -> None:
    left = iter(bombs)

    async def work() -> None:
        for bomb in left:
            damage.blows.append(await _blow(bomb, url, http))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _blow(bomb: Bomb, url: str, http: aiohttp.ClientSession) -> Blow:
    data = f"data:application/octet-stream;base64,{base64.b64encode(bomb.data).decode()}"
    body = _request([part_of(bomb.part, data), {"type": "text", "text": "?"}], max_tokens=1)
    began = time.perf_counter()
    sent = BytesIO(orjson.dumps(body))
    async with http.post(f"{url}/v1/chat/completions", data=sent, headers=_JSON) as response:
        answer = await response.json()
    code = "" if response.status == 200 else str(answer["error"]["code"])
    return Blow(bomb.name, len(bomb.data), response.status, code, time.perf_counter() - began)


async def _watched(work: Any, url: str, http: aiohttp.ClientSession, notice: Notice) -> None:
    watchers = [asyncio.create_task(watch(url, http, notice)) for watch in (_watch_livez, _watch_stream)]
    try:
        await work
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)


async def _watch_livez(url: str, http: aiohttp.ClientSession, notice: Notice) -> None:
    while True:
        began = time.perf_counter()
        async with http.get(f"{url}/livez") as response:
            await response.read()
        notice.livez_s.append(time.perf_counter() - began)
        await asyncio.sleep(PROBE_S)


async def _watch_stream(url: str, http: aiohttp.ClientSession, notice: Notice) -> None:
    body = _request("Count.", max_tokens=500, stream=True)
    while True:
        async with http.post(f"{url}/v1/chat/completions", json=body) as response:
            last: float | None = None
            async for line in response.content:
                if line.startswith(b"data: {"):
                    now = time.perf_counter()
                    notice.gaps_s += [] if last is None else [now - last]
                    last = now


async def _watch_memory(process: psutil.Process, damage: Damage) -> None:
    while True:
        damage.most_bytes = max(damage.most_bytes, process.memory_info().rss)
        await asyncio.sleep(PROBE_S)


def _request(content: Any, **options: Any) -> dict[str, Any]:
    return {"model": SIMULATED, "messages": [{"role": "user", "content": content}], **options}
