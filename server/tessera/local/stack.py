"""The whole server on one machine: what ``tessera up`` and ``tessera demo`` start, watch and stop."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import redis.asyncio as aioredis

from tessera.local.child import Child
from tessera.local.redis_server import executable
from tessera.processes import adopt_orphans, end_strays
from tessera.queue import REDIS_UNAVAILABLE, connect
from tessera.settings import Settings
from tessera.tenants import first_key

POLL_S = 0.2
# What a gateway needs beyond its drain to end what has not ended.
STOP_GATEWAY_S = 10.0
# What a worker needs beyond its drain to end Ray and the engine.
STOP_WORKER_S = 30.0
STOP_REDIS_S = 5.0
# What may be in the media Redis, as a multiple of the store's room: what is on its way in or out takes memory as well.
MEDIA_REDIS_OVERHEAD = 2


class StartFailed(Exception):
    """The stack did not come up; the message says what failed and shows the end of its log."""


class Stack:
    """The running stack.

    Attributes:
        url: base address of the gateway.
        settings: with the Redis and the port that are really used.
    """

    def __init__(self, settings: Settings, folder: Path, verbose: bool, tell: Callable[[str], None]):
        self.settings = settings
        self._folder = folder
        self._logs = None if verbose else folder
        self._tell = tell
        self.children: dict[str, Child] = {}

    @property
    def url(self) -> str:
        """Where clients find the gateway."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What its clients have to send with each request."""
        key = first_key(self.settings)
        return {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def model(self) -> str:
        """Name of the model that it serves."""
        return self.settings.resolved_model_name()

    async def start_redis(self) -> None:
        """Embedded Redises of our own, where none is configured: the queue's keeps its data over a crash.

        Media has one for itself, which keeps nothing: hundreds of megabytes that are needed for seconds belong in no
        file.
        """
        await self._start_redis("redis", "redis_url", {"appendonly": "yes"})
        if not self.settings.media_redis_url:
            limit = self.settings.media_store_max_bytes * MEDIA_REDIS_OVERHEAD
            await self._start_redis("media-redis", "media_redis_url", {"maxmemory": str(limit)})
        if not self.settings.files_store_url:
            # They last as long as what is known of them, which is in this Redis.
            self.settings = self.settings.model_copy(update={"files_store_url": (self._folder / "files").as_uri()})

    async def start_gateway(self) -> None:
        """The gateway, until it answers; port 0 is replaced by a free one."""
        if not self.settings.port:
            self.settings = self.settings.model_copy(update={"port": free_port()})
        if "drain_notice_s" not in self.settings.model_fields_set:
            # No load balancer is to notice that it stops.
            self.settings = self.settings.model_copy(update={"drain_notice_s": 0.0})
        _check_port(self.settings.host, self.settings.port)
        child = await self._start("gateway", [sys.executable, "-m", "tessera", "gateway"])
        async with aiohttp.ClientSession() as session:
            await self._until(child, lambda: _status_is_ok(session, f"{self.url}/livez"))

    async def start_worker(self) -> None:
        """The worker, until the gateway says that it serves the model."""
        child = await self._start("worker", [sys.executable, "-m", "tessera", "worker"])
        async with aiohttp.ClientSession() as session:
            await self._until(child, lambda: _status_is_ok(session, f"{self.url}/readyz"))

    async def stop(self) -> None:
        """Stop everything: first what takes requests, last what keeps them."""
        limits = {
            "gateway": self.settings.drain_timeout_s + STOP_GATEWAY_S,
            "worker": self.settings.drain_timeout_s + STOP_WORKER_S,
            "redis": STOP_REDIS_S,
            "media-redis": STOP_REDIS_S,
        }
        for name, timeout_s in limits.items():
            if (child := self.children.get(name)) is not None:
                await child.stop(timeout_s)
        await asyncio.to_thread(end_strays, set())

    async def _start_redis(self, name: str, setting: str, special: dict[str, str]) -> None:
        # A socket in a folder that only this user can enter: no port, no password.
        path = self._folder / f"{name}.sock"
        options = {"port": "0", "unixsocket": str(path), "dir": str(self._folder), "save": "", **special}
        argv = [str(executable()), *(part for option, value in options.items() for part in (f"--{option}", value))]
        self.settings = self.settings.model_copy(update={setting: f"unix://{path}"})
        child = await self._start(name, argv)
        redis = connect(self.settings, name="up", url=f"unix://{path}")
        try:
            await self._until(child, lambda: _answers(redis))
        finally:
            await redis.aclose()

    async def _start(self, name: str, argv: list[str]) -> Child:
        env = {f"TESSERA_{k.upper()}": str(v) for k, v in self.settings.model_dump(exclude_unset=True).items()}
        child = Child(name, argv, env, self._logs, self._clean_up)
        self.children[name] = child
        await child.start()
        return child

    async def _clean_up(self, news: str) -> None:
        self._tell(news)
        alive = {child.pid for child in self.children.values() if child.pid is not None}
        await asyncio.to_thread(end_strays, alive)

    async def _until(self, child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
        exited = asyncio.create_task(child.exited())
        try:
            while not await ready():
                done, _ = await asyncio.wait([exited], timeout=POLL_S)
                if done:
                    raise StartFailed(f"{child.name} exited with code {exited.result()}.\n{child.last_lines()}")
        finally:
            exited.cancel()
        child.keep()


@asynccontextmanager
async def open_stack(settings: Settings, *, verbose: bool, tell: Callable[[str], None]) -> AsyncIterator[Stack]:
    """An empty stack, which is stopped, whatever was started of it, when the context ends.

    Args:
        verbose: children write to the terminal instead of to log files.
        tell: called with news for the user, such as a restart.
    """
    adopt_orphans()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tessera-")))
        running = Stack(settings, folder, verbose, tell)
        stack.push_async_callback(running.stop)
        yield running


def free_port() -> int:
    """A loopback port that nobody listens on, and that the system gives to nobody else in the next minute.

    It is left as the end of a connection that was closed here: only who asks for this very port gets it, as servers do
    that start again (``SO_REUSEADDR``).
    """
    with socket.socket() as listening, socket.socket() as calling:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        calling.connect(listening.getsockname())
        answering, _ = listening.accept()
        # First, so that it is this end that the system keeps.
        answering.close()
        port: int = listening.getsockname()[1]
        return port


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartFailed(f"Port {port} on {host} cannot be used ({error.strerror}). Set TESSERA_PORT.") from error


async def _answers(redis: aioredis.Redis) -> bool:
    try:
        await redis.ping()
    except REDIS_UNAVAILABLE:
        return False
    return True


async def _status_is_ok(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
