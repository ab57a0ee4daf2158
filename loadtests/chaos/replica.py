"""Real vLLM under Ray Serve, as ``tessera worker`` runs it: replicas, and their engine cores, that are killed."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import psutil

from tessera.processes import end_descendants, end_with_parent

# From the death of a replica to the next one that serves, on few cores that all the others work on meanwhile.
HEAL_S = 600.0
STOP_S = 60.0
POLL_S = 0.5
_READY = re.compile(rb'pid=(\d+).*"worker": "([^"]+)", "sequences"')
_REPLICA = "ray::ServeReplica"
# vLLM gives its core a title, which fails where a process has changed its environment; it is then known by its start.
_CORES = ("VLLM::EngineCore", "multiprocessing.spawn")


class Replica:
    """A place for one of Ray's replicas, which Ray fills again when it is killed."""

    def __init__(self, number: int, fleet: ReplicaFleet):
        self.name = f"replica {number}"
        self.struck_at = float("-inf")
        self._fleet = fleet
        self._pid: int | None = None

    @property
    def worker_ids(self) -> set[str]:
        """Under which Redis knows the replica that is there; none while there is none."""
        return {self._fleet.ready_ones()[self._pid]} if self._pid is not None else set()

    async def harm(self, kind: str, chance: random.Random) -> None:
        """``kill -9``, or SIGSTOP, of its process, or of the engine core that it has started."""
        assert self._pid is not None, "it has not settled"
        if not psutil.pid_exists(self._pid):
            raise RuntimeError(f"{self.name} has died, and nobody killed it: its log says why")
        if kind == "replica stopped":
            os.kill(self._pid, signal.SIGSTOP)
            return
        victim = self._pid if kind == "replica killed" else _engine_core(self._pid)
        self._fleet.gone.add(self._pid)
        os.kill(victim, signal.SIGKILL)

    def mend(self) -> None:
        """Let a process that was stopped go on."""
        assert self._pid is not None, "it was killed"
        os.kill(self._pid, signal.SIGCONT)

    async def settled(self) -> None:
        """Wait for the replica that Ray starts in the place of one that died. Raises ``TimeoutError``."""
        async with asyncio.timeout(HEAL_S):
            while self._pid is None or self._pid in self._fleet.gone:
                free = self._fleet.ready_ones().keys() - self._fleet.gone - self._fleet.taken()
                self._pid = min(free, default=self._pid)
                await asyncio.sleep(POLL_S)

    @property
    def pid(self) -> int | None:
        """Of the process that has this place, or had it."""
        return self._pid


class ReplicaFleet:
    """``tessera worker`` with several replicas.

    Attributes:
        gone: process ids of replicas that are dead, or end since their engine is.
    """

    KINDS: ClassVar = {"replica killed": 36, "engine killed": 36, "replica stopped": 6}
    MENDED: ClassVar = frozenset({"replica stopped"})

    def __init__(self, number: int, settings: dict[str, Any], folder: Path):
        self.workers = [Replica(i, self) for i in range(number)]
        self.gone: set[int] = set()
        own = {**settings, "replicas": number}
        self._env = {f"TESSERA_{name.upper()}": str(value) for name, value in own.items()}
        # Each line of a replica tells whose it is; lines that are alike are not to be counted instead of printed.
        self._env |= {"RAY_TMPDIR": str(folder), "RAY_DEDUP_LOGS": "0"}
        self._log = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process that starts Ray."""
        self._begin()

    async def ready(self) -> None:
        """Wait for all replicas. Raises ``TimeoutError``, or ``RuntimeError`` where it ended."""
        for worker in self.workers:
            await worker.settled()

    async def stop(self) -> None:
        """End it, with all that it has started."""
        if self._process is not None:
            await asyncio.to_thread(self._stop, self._process)

    def ready_ones(self) -> dict[int, str]:
        """Process ids of all replicas that ever served, and how Redis knows them."""
        found = _READY.findall(self._log.read_bytes()) if self._log.exists() else []
        return {int(pid): worker.decode() for pid, worker in found}

    def taken(self) -> set[int]:
        """Process ids of replicas that have a place."""
        return {worker.pid for worker in self.workers if worker.pid is not None}

    def _begin(self) -> None:
        argv, env = [sys.executable, "-m", "tessera", "worker"], {**os.environ, **self._env}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, env=env, stdout=log, stderr=log, preexec_fn=end_with_parent)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            end_descendants(process.pid)
            process.kill()
            process.wait()


def _engine_core(replica: int) -> int:
    """Process id of the youngest engine core that a replica has started."""
    children = psutil.Process(replica).children(recursive=True)
    cores = [child for child in children if any(mark in " ".join(child.cmdline()) for mark in _CORES)]
    return max(cores, key=lambda child: child.create_time()).pid
