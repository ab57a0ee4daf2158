"""The server that is to be harmed: an append-only Redis, gateways, and workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import aiohttp
import redis.asyncio as aioredis

from loadtests.chaos.part import Part, RedisPart, Run, run_gateway
from loadtests.chaos.release import new_part
from loadtests.chaos.replica import ReplicaFleet
from loadtests.chaos.worker import Fleet, ProcessFleet
from tessera.local.stack import free_port
from tessera.queue import REDIS_UNAVAILABLE, connect
from tessera.queue.keys import Keys
from tessera.settings import SIMULATED, VLLM, Settings

# Longest start of a part, the engines of real vLLM apart.
START_S = 60.0
# A request that has waited so long gets a clear error.
WAIT_S = 90.0
POLL_S = 0.05
# Requests that a simulated engine runs at once.
SEATS = 64
# A gateway that answers later than that is not well.
PROBE_S = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large it is.

    Attributes:
        max_attempts: as ``TESSERA_MAX_ATTEMPTS``.
        fsync: Redis' ``appendfsync``.
        small: Redis' file is, since it is killed often; where time is measured, it is left as Redis has it.
        step_ms: time of a token of a simulated engine.
        drain_s: that workers have to end their jobs when they are told to end themselves; others go on with the rest.
        gateway_drain_s: that gateways have.
        gateway_notice_s: the part of it in which they still take requests.
        engine: what the workers run: simulated engines, or real vLLM with the embedded model.
        apart: each worker of vLLM is a process that can be replaced, and not one of Ray's replicas below one.
    """

    gateways: int = 2
    workers: int = 6
    lease_s: float = 2.0
    max_attempts: int = 3
    fsync: str = "always"
    small: bool = True
    step_ms: float = 40.0
    drain_s: float = 1.0
    gateway_drain_s: float = 1.0
    gateway_notice_s: float = 0.0
    engine: Literal["simulated", "vllm"] = SIMULATED
    apart: bool = False


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait, by asking again and again."""
    while not await ready():  # noqa: ASYNC110  # another process is waited for
        await asyncio.sleep(POLL_S)


class Server:
    """Use ``running``.

    Args:
        gateway: what a gateway's process does.
        media_redis: media has a Redis of its own, which keeps it in memory alone, as `tessera up` has it.
        tree: of another version, whose code gateways and workers run at first.
        more: settings of all parts beside those that the size says.

    Attributes:
        gateways: addresses, and the processes.
        fleet: the workers.
        model: what they serve.
    """

    def __init__(
        self,
        size: Size,
        folder: Path,
        *,
        gateway: Run = run_gateway,
        media_redis: bool = False,
        tree: Path | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.size = size
        self.redis = RedisPart(folder, size.fsync, small=size.small)
        self.media_redis = RedisPart(folder, None, name="media-redis") if media_redis else None
        common = {
            "engine": size.engine,
            "lease_s": size.lease_s,
            "max_attempts": size.max_attempts,
            "queue_timeout_s": WAIT_S,
            "reply_timeout_s": WAIT_S,
            "reply_ttl_s": 30,
            "log_format": "json",
            "drain_timeout_s": size.drain_s,
            "redis_timeout_s": 2.0,
            "media_redis_url": self.media_redis.url if self.media_redis else "",
            **more,
        }
        self.fleet: Fleet
        if size.engine == VLLM and not size.apart:
            self.fleet = ReplicaFleet(size.workers, {**common, "redis_url": self.redis.url}, folder)
        else:
            simulated = {"simulated_decode_step_ms": size.step_ms, "simulated_seats": SEATS}
            self.fleet = ProcessFleet(size.workers, {**common, **simulated}, folder, self.redis.socket, tree)
        self.model = Settings(engine=size.engine).resolved_model_name()
        drain = {"drain_timeout_s": size.gateway_drain_s, "drain_notice_s": size.gateway_notice_s}
        self._gateway = gateway
        self._gateway_settings = {**common, **drain, "redis_url": self.redis.url, "host": "127.0.0.1"}
        self._folder = folder
        self.gateways = [self.new_gateway(i, tree) for i in range(size.gateways)]
        own_settings = Settings(redis_url=self.redis.url, redis_timeout_s=1.0)
        self._commands: aioredis.Redis = connect(own_settings, name="chaos")
        self._keys = Keys(own_settings.redis_prefix)

    def new_gateway(self, number: int, tree: Path | None = None) -> tuple[str, Part]:
        """One at a port of its own that is not started yet: its address, and itself."""
        port = free_port()
        own: dict[str, Any] = {**self._gateway_settings, "port": port}
        log = self._folder / f"gateway-{number}.log"
        return f"http://127.0.0.1:{port}", new_part(f"gateway {number}", self._gateway, own, log, tree)

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start everything, and wait until it answers. Raises ``TimeoutError``."""
        for server in self._redis_servers():
            server.start()
        async with asyncio.timeout(START_S):
            await until(self.redis_answers)
        await self.fleet.start()
        for _, gateway in self.gateways:
            await asyncio.to_thread(gateway.start)
        await self.fleet.ready()
        async with asyncio.timeout(START_S):
            for url, _ in self.gateways:
                await until(partial(self.gateway_answers, http, url))

    async def stop(self) -> None:
        """End everything."""
        await asyncio.gather(*(asyncio.to_thread(part.terminate) for _, part in self.gateways), self.fleet.stop())
        await self._commands.aclose()
        for server in self._redis_servers():
            server.kill()

    async def redis_answers(self) -> bool:
        """Whether Redis does."""
        try:
            await self._commands.ping()
        except REDIS_UNAVAILABLE:
            return False
        return True

    async def queued_s(self, job_id: str) -> float:
        """When a job was queued, s since the epoch: by Redis' clock, which tells whole milliseconds."""
        queued_ms: Any = await self._commands.hget(self._keys.job(self.model, job_id), "enqueued_ms")
        return (int(queued_ms) + 0.5) / 1000

    async def jobs_of(self, workers: set[str]) -> list[str]:
        """Ids of the jobs that a worker holds, by what Redis knows it as; none where Redis is away."""
        try:
            leased: Any = await self._commands.zrange(self._keys.leases(self.model), 0, -1)
            async with self._commands.pipeline(transaction=False) as pipe:
                for raw in leased:
                    pipe.hget(self._keys.job(self.model, raw.decode()), "worker")
                holders = await pipe.execute()
        except REDIS_UNAVAILABLE:
            return []
        return [
            raw.decode() for raw, holder in zip(leased, holders, strict=True) if (holder or b"").decode() in workers
        ]

    async def gateway_answers(self, http: aiohttp.ClientSession, url: str) -> bool:
        """Whether a gateway takes requests."""
        try:
            async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(PROBE_S)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _redis_servers(self) -> list[RedisPart]:
        return [self.redis, *([self.media_redis] if self.media_redis else [])]


@asynccontextmanager
async def running(size: Size, folder: Path, http: aiohttp.ClientSession, **options: Any) -> AsyncIterator[Server]:
    """A server, until the context ends; ``options`` are those of ``Server``."""
    server = Server(size, folder, **options)
    try:
        await server.start(http)
        yield server
    finally:
        await server.stop()
