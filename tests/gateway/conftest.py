from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio as aioredis
from aiohttp import web
from fastapi import FastAPI
from prometheus_client import REGISTRY

from tessera.gateway import item_counts
from tessera.gateway.app import create_app
from tessera.gateway.endpoints import ENDPOINTS
from tessera.gateway.server import GatewayServer
from tessera.queue import ModelCard, connect
from tessera.settings import Settings
from tessera.telemetry.token_histogram import TokenHistogram
from tests.gateway.scripted import Gateway, OwnRedis, ScriptedWorker
from tests.polling import eventually

StartGateway = Callable[[Settings], Awaitable[Gateway]]


@pytest.fixture
def worker_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker has time to count the tokens of an item, which is told at once instead of after ten seconds."""
    monkeypatch.setattr(item_counts, "WAIT_S", 0.01)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings of a test's own corner of the Redis; nothing runs out, and no comment comes, on a slow machine."""
    return Settings(
        redis_url=redis_url,
        redis_prefix=f"test-{secrets.token_hex(4)}",
        lease_s=600,
        redis_timeout_s=60,
        stream_heartbeat_s=0,
        media_allow_private_networks=True,
        media_threads=1,
        media_sandbox="off",  # its start takes a second; it has tests of its own
        drain_notice_s=0,
    )


@pytest.fixture
def card() -> Iterator[ModelCard]:
    """A model under a name of its own, so that its metrics are of one test; it can be asked anything."""
    limits = {"image": 2, "video": 1, "audio": 1}
    tasks = sorted({task for endpoint in ENDPOINTS for task in endpoint.tasks})
    name = f"model-{secrets.token_hex(4)}"
    yield ModelCard(name, "/models/x", 4096, limits, sequences=256, tasks=tasks)
    # Metrics are the process's: with the series of hundreds of tests, to read them takes a quarter of a second.
    for metric in set(REGISTRY._collector_to_names):
        if isinstance(metric, TokenHistogram):
            metric._series.pop(name, None)
        elif "model" in getattr(metric, "_labelnames", ()):
            metric.remove_by_labels({"model": name})


@pytest.fixture
async def worker(redis_client: aioredis.Redis, settings: Settings, card: ModelCard) -> ScriptedWorker:
    """A worker that serves the model."""
    worker = ScriptedWorker(redis_client, settings, card)
    await worker.announce()
    return worker


class _Server(GatewayServer):
    def __init__(self, app: FastAPI, settings: Settings):
        super().__init__(app, settings)
        self.over = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are pytest's

    async def on_tick(self, counter: int) -> bool:
        await super().on_tick(counter)
        await self.over.wait()  # and not for the next tenth of a second
        return True


@pytest.fixture
async def start_gateway() -> AsyncIterator[StartGateway]:
    """Starts gateways, each on a port of its own, in this event loop."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def start(settings: Settings) -> Gateway:
            app = create_app(settings)
            server = _Server(app, settings)
            listener = socket.create_server(("127.0.0.1", 0))
            serving = asyncio.create_task(server.serve([listener]))

            async def stop() -> None:
                server.over.set()
                await serving

            stack.push_async_callback(stop)
            await eventually(lambda: server.started or serving.done(), "the gateway listens")
            port = listener.getsockname()[1]
            return Gateway(
                f"http://127.0.0.1:{port}",
                http,
                app,
                stop,
                listening=lambda: all(s.is_serving() for s in server.servers),
                requests=lambda: len(server.server_state.tasks),
            )

        yield start
        await http.close()  # first, since a server waits for its clients


@pytest.fixture
async def gateway(start_gateway: StartGateway, settings: Settings, worker: ScriptedWorker) -> Gateway:
    """A gateway that knows the worker."""
    return await start_gateway(settings)


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    """A Redis that may be killed."""
    server = OwnRedis(tmp_path)
    await server.start()
    yield server
    server.kill()


@pytest.fixture
async def own(own_redis: OwnRedis, settings: Settings) -> Settings:
    """Settings for the Redis that may be killed; short limits, so that its absence is noticed soon."""
    return settings.model_copy(update={"redis_url": own_redis.url, "redis_timeout_s": 1.0})


@pytest.fixture
async def own_worker(own: Settings, card: ModelCard) -> AsyncIterator[ScriptedWorker]:
    """A worker on that Redis."""
    client = connect(own.model_copy(update={"redis_timeout_s": 10.0}), name="test")
    worker = ScriptedWorker(client, own, card)
    await worker.announce()
    yield worker
    await client.aclose()


class MediaServer:
    """Serves what a test puts into ``handlers``, by path."""

    def __init__(self) -> None:
        self.url = ""
        self.handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.asked: list[str] = []
        self.left: list[str] = []
        self.over = asyncio.Event()

    def serve(self, path: str, body: bytes = b"", **options: object) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, **options)  # type: ignore[arg-type]

        self.handlers[path] = answer
        return self.url + path

    def hang(self, path: str) -> str:
        """A path that never answers."""

        async def wait(request: web.Request) -> web.StreamResponse:
            try:
                await self.over.wait()
            finally:
                self.left.append(path)
            return web.Response()

        self.handlers[path] = wait
        return self.url + path

    def slow(self, path: str, beginning: bytes) -> str:
        """A path that answers with a beginning, and never with more."""

        async def begin(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(beginning)
            await self.over.wait()
            return response

        self.handlers[path] = begin
        return self.url + path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return await self.handlers[request.path](request)


@pytest.fixture
async def media_server() -> AsyncIterator[MediaServer]:
    """A web server with media."""
    server = MediaServer()
    runner = web.ServerRunner(web.Server(server.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    server.over.set()
    await runner.cleanup()
