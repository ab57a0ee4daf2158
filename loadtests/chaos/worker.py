"""Workers that are to be harmed, of whatever kind, and those that are processes, each behind a link to Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from loadtests.chaos.engine import EnginePart
from loadtests.chaos.link import Link
from loadtests.chaos.part import Part, run_worker
from loadtests.chaos.release import new_part
from loadtests.chaos.replica import HEAL_S
from tessera.settings import VLLM


class Worker(Protocol):
    """One of several workers.

    Attributes:
        struck_at: event loop's time at which something was last done to it, by whoever does it.
    """

    name: str
    struck_at: float

    @property
    def worker_ids(self) -> set[str]:
        """Under which Redis knows it since its last start."""

    async def harm(self, kind: str, chance: random.Random) -> None:
        """Do to it what one of its fleet's kinds says."""

    def mend(self) -> None:
        """Undo what can be undone of that."""

    async def settled(self) -> None:
        """Wait until it serves again. Raises ``TimeoutError``."""


class Fleet(Protocol):
    """All workers.

    Attributes:
        KINDS: what may be done to one of them, and how often, beside gateways and Redis.
        MENDED: those of them that are undone after a while.
    """

    KINDS: ClassVar[dict[str, int]]
    MENDED: ClassVar[frozenset[str]]

    @property
    def workers(self) -> Sequence[Worker]:
        """Each of them."""

    async def start(self) -> None:
        """Start all."""

    async def ready(self) -> None:
        """Wait until all serve. Raises ``TimeoutError``."""

    async def stop(self) -> None:
        """End all."""


class ProcessWorker:
    """A process that can be killed, stopped, and cut off from Redis."""

    def __init__(self, number: int, settings: dict[str, Any], folder: Path, redis_socket: Path, tree: Path | None):
        self.name = f"worker {number}"
        self.struck_at = float("-inf")
        self.link = Link(folder / f"link-{number}.sock", redis_socket)
        self._settings = {**settings, "redis_url": self.link.url}
        self._folder = folder
        self.part = self._new(folder / f"worker-{number}.log", tree)

    @property
    def worker_ids(self) -> set[str]:
        """Under which Redis knows it since its last start."""
        return self.part.worker_ids

    async def harm(self, kind: str, chance: random.Random) -> None:
        """Another one is started in the place of one that is killed."""
        if kind == "worker killed":
            await asyncio.to_thread(self._replace)
        elif kind == "worker stopped":
            self.part.stop()
        else:
            self.link.cut(silently=chance.random() < 0.5)

    def mend(self) -> None:
        """Let it go on."""
        self.part.go_on()
        self.link.mend()

    async def settled(self) -> None:
        """One that could not start, since Redis was away, is started again, as whoever keeps it running would."""
        while not self.worker_ids:
            if self.part.exit_code is not None:
                await asyncio.to_thread(self.part.start)
            await asyncio.sleep(0.2)

    async def succeed(self, round_: int) -> Part:
        """Put another one beside it, which then is this worker. Returns the one that was, once the new one serves."""
        old, self.part = self.part, self._new(self._folder / f"{self.name.replace(' ', '-')}-{round_}.log")
        await asyncio.to_thread(self.part.start)
        await self.settled()
        return old

    def _new(self, log: Path, tree: Path | None = None) -> Part:
        if self._settings["engine"] == VLLM:
            return EnginePart(self.name, self._settings, log, tree)
        return new_part(self.name, run_worker, self._settings, log, tree)

    def _replace(self) -> None:
        self.part.kill()
        self.part.start()


class ProcessFleet:
    """Workers that are each a process of its own: of simulated engines, or of real vLLM with a Ray of its own."""

    KINDS: ClassVar = {"worker killed": 62, "worker stopped": 8, "worker cut off": 8}
    MENDED: ClassVar = frozenset({"worker stopped", "worker cut off"})

    def __init__(
        self, number: int, settings: dict[str, Any], folder: Path, redis_socket: Path, tree: Path | None = None
    ):
        self._slow = settings["engine"] == VLLM
        self.workers = [ProcessWorker(i, settings, folder, redis_socket, tree) for i in range(number)]

    async def start(self) -> None:
        """Start all, one after the other."""
        for worker in self.workers:
            await worker.link.start()
            await asyncio.to_thread(worker.part.start)

    async def ready(self) -> None:
        """Wait for engines that take long to start. Raises ``TimeoutError``; the others come while some serve."""
        if self._slow:
            async with asyncio.timeout(HEAL_S):
                for worker in self.workers:
                    await worker.settled()

    async def stop(self) -> None:
        """End all."""
        await asyncio.gather(*(asyncio.to_thread(worker.part.terminate) for worker in self.workers))
        for worker in self.workers:
            worker.link.stop()
