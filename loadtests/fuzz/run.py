"""Damaged files as requests to a real gateway: decoded in its sandbox, queued, answered by a simulated engine."""

from __future__ import annotations

import asyncio
import base64
import random
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from loadtests.chaos.server import Server, Size, running
from loadtests.fuzz.corpus import Seed, documents, part_of, seeds
from loadtests.fuzz.mutation import damage
from tessera.settings import MIB, SIMULATED

AT_ONCE = 8
_LOOKS = 20
# The first files fill caches and pools.
_SETTLED = 4
_MOST_GROWTH_BYTES = 64 * MIB
_BROKEN = "connection broken"


@dataclass
class Outcome:
    """What came of all files.

    Attributes:
        by_format: how often each status and code came, by the format's name.
        bad: files that were answered as none should be, with what came.
        memory_bytes: of the gateway, from time to time.
        ends: of processes that decoded, by reason.
    """

    by_format: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    bad: list[tuple[str, str, bytes]] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)

    @property
    def growth_bytes(self) -> int:
        """By how much the gateway grew after it had settled."""
        return self.memory_bytes[-1] - max(self.memory_bytes[: _SETTLED + 1])

    @property
    def clean(self) -> bool:
        """Nothing was answered as it should not be, and nothing grew."""
        return not self.bad and self.growth_bytes < _MOST_GROWTH_BYTES


async def run(files: int, seed: int) -> Outcome:
    """Send so many damaged files, the same ones for the same seed."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        limits = aiohttp.ClientTimeout(total=300)
        async with aiohttp.ClientSession(timeout=limits) as http:
            size = Size(gateways=1, workers=1, lease_s=30.0, fsync="everysec", step_ms=0.1)
            async with running(size, Path(folder), http) as server:
                return await _Run(server, http, seed).send(files)


class _Run:
    def __init__(self, server: Server, http: aiohttp.ClientSession, seed: int):
        (self._url, gateway), *_ = server.gateways
        self._gateway = psutil.Process(gateway.pid)
        self._http = http
        self._chance = random.Random(seed)
        self._seeds = [*seeds(), *documents()]
        self._others = defaultdict(list)
        for one in self._seeds:
            self._others[one.part].append(one.data)
        self._outcome = Outcome()

    async def send(self, files: int) -> Outcome:
        for one in self._seeds:
            await self._ask(one, one.data)
        assert not self._outcome.bad, f"the whole files are not read: {self._outcome.bad}"
        self._outcome.by_format.clear()
        left = iter(range(files))
        await asyncio.gather(*(self._work(left, max(files // _LOOKS, 1)) for _ in range(AT_ONCE)))
        self._outcome.ends = await self._ends()
        self._look()
        return self._outcome

    async def _work(self, left: Any, look_every: int) -> None:
        for number in left:
            if number % look_every == 0:
                self._look()
            one = self._chance.choice(self._seeds)
            await self._ask(one, damage(one.data, self._others[one.part], self._chance))

    def _look(self) -> None:
        self._outcome.memory_bytes.append(self._gateway.memory_info().rss)

    async def _ask(self, one: Seed, data: bytes) -> None:
        url = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
        content = [part_of(one.part, url), {"type": "text", "text": "?"}]
        body = {"model": SIMULATED, "messages": [{"role": "user", "content": content}], "max_tokens": 1}
        came = await self._answer(body)
        self._outcome.by_format[one.name][came] += 1
        whole_and_refused = came != "200" and data == one.data
        if not came.startswith(("200", "400")) or whole_and_refused:
            self._outcome.bad.append((one.name, came, data))

    async def _answer(self, body: dict[str, Any]) -> str:
        try:
            async with self._http.post(f"{self._url}/v1/chat/completions", json=body) as response:
                answer = await response.json()
                return "200" if response.status == 200 else f"{response.status} {answer['error']['code']}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{_BROKEN}: {type(error).__name__}"

    async def _ends(self) -> dict[str, int]:
        async with self._http.get(f"{self._url}/metrics") as response:
            text = await response.text()
        ends: dict[str, int] = {}
        for family in text_string_to_metric_families(text):
            if family.name == "tessera_media_sandbox_ends":
                ends |= {s.labels["reason"]: int(s.value) for s in family.samples if s.name.endswith("_total")}
        return ends
