"""A gateway in a process of its own, to be killed or stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tessera.local.stack import free_port
from tessera.settings import Settings
from tests.environment import environment
from tests.polling import eventually


class GatewayProcess:
    def __init__(self, settings: Settings, http: aiohttp.ClientSession):
        self.url = f"http://127.0.0.1:{settings.port}"
        self.http = http
        argv = [sys.executable, "-m", "tessera", "gateway"]
        root = Path(__file__).parents[2]
        env = {**os.environ, **environment(settings), "PYTHONPATH": f"{root / 'server'}{os.pathsep}{root}"}
        self._process = subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL)

    async def ready(self) -> bool:
        assert self._process.poll() is None, "the gateway has ended"
        try:
            async with self.http.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def has_begun(self) -> bool:
        """Whether the first piece of some answer has gone out."""
        async with self.http.get(f"{self.url}/metrics") as response:
            return "tessera_time_to_first_token_seconds_count" in await response.text()

    def ask(self, body: object) -> asyncio.Task[bytes]:
        """What comes as the answer to a chat request."""

        async def answer() -> bytes:
            async with self.http.post(f"{self.url}/v1/chat/completions", json=body) as response:
                return await response.read()

        return asyncio.create_task(answer())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def gateway_process(settings: Settings) -> AsyncIterator[GatewayProcess]:
    """A gateway that knows a worker, until the context ends."""
    async with aiohttp.ClientSession() as http:
        own = Settings(**settings.model_dump(exclude_unset=True) | {"host": "127.0.0.1", "port": free_port()})
        process = GatewayProcess(own, http)
        try:
            await eventually(process.ready, "the gateway is ready", within_s=60)
            yield process
        finally:
            process.kill()
