"""``tessera gateway`` as a process of its own: with uvloop, signals, limits and an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from tessera.local.stack import free_port
from tessera.settings import Settings
from tests.gateway.raw import connected
from tests.polling import eventually

START_S = 60.0
END_S = 60.0


class GatewayProcess:
    """A running gateway.

    Attributes:
        port: on the loopback address.
    """

    def __init__(self, process: Process, port: int, log: Path):
        self.port = port
        self._process = process
        self._log = log

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def resident_bytes(self) -> int:
        """Memory that it occupies."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    async def ended(self) -> int:
        """Its exit code, once it has one."""
        async with asyncio.timeout(END_S):
            return await self._process.wait()

    def log(self) -> list[dict[str, Any]]:
        """What it wrote; each line is JSON."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.log()]


@asynccontextmanager
async def gateway_process(
    settings: Settings, folder: Path, *, descriptors: int | None = None, **more: object
) -> AsyncIterator[GatewayProcess]:
    """A gateway until the context ends.

    Args:
        descriptors: its limit on file descriptors, soft and hard.
        more: further settings.
    """

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    port, log = free_port(), folder / "gateway.log"
    chosen = {**settings.model_dump(exclude_unset=True), "host": "127.0.0.1", "port": port, **more}
    env = {**os.environ, **{f"TESSERA_{name.upper()}": str(value) for name, value in chosen.items()}}
    with log.open("wb") as output:
        streams: dict[str, Any] = {"stdin": DEVNULL, "stdout": output, "stderr": output}
        argv = (sys.executable, "-m", "tessera", "gateway")
        process = await asyncio.create_subprocess_exec(*argv, env=env, preexec_fn=limit, **streams)
    gateway = GatewayProcess(process, port, log)
    try:
        await eventually(lambda: _listens(gateway), "the gateway listens", within_s=START_S)
        yield gateway
    finally:
        if gateway.running:
            process.kill()
        await process.wait()


async def _listens(gateway: GatewayProcess) -> bool:
    assert gateway.running, gateway.log()
    try:
        async with connected(gateway.port):
            return True
    except ConnectionRefusedError:
        return False
