"""``tessera gateway``: the application under uvicorn."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from tessera.errors import GatewayStopping
from tessera.gateway.app import create_app
from tessera.gateway.connections import Connections
from tessera.gateway.descriptors import most_connections, raise_descriptor_limit
from tessera.gateway.disconnect import CANCEL_AGAIN_S
from tessera.gateway.priority import put_event_loop_first
from tessera.gateway.protocol import GatewayProtocol
from tessera.media import MediaObjects, SandboxDecoder
from tessera.memory import give_back_freed_memory, keep_for_good
from tessera.settings import Settings

log = structlog.get_logger()

POLL_S = 0.05
# After the drain: for the last words of requests that are given up, and again for those that end when they are cut off.
ENDING_S = 2.0


def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running requests get ``TESSERA_DRAIN_TIMEOUT_S`` to end.

    Raises:
        SandboxIncomplete: ``TESSERA_MEDIA_SANDBOX=strict``, and this machine cannot.
        KeysUnreadable: the settings name keys that cannot be read.
        MediaStoreUnusable: the settings name a place for media that cannot be opened.
    """
    if not (settings.api_key or settings.api_keys_file or _is_loopback(settings.host)):
        log.warning(
            "gateway_without_keys",
            host=settings.host,
            port=settings.port,
            meaning="Whoever reaches this port may use all of it. Set TESSERA_API_KEYS_FILE or TESSERA_API_KEY.",
        )
    app = create_app(settings)
    if settings.media_store_url:
        MediaObjects(settings)
    if settings.media_sandbox == "strict":
        asyncio.run(_require_sandbox(settings))
    raise_descriptor_limit()
    give_back_freed_memory()
    server = GatewayServer(app, settings)
    keep_for_good()
    server.run()


def _is_loopback(host: str) -> bool:
    """Whether only this machine's programs reach an address that is listened on."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, or all addresses


async def _require_sandbox(settings: Settings) -> None:
    """Find out before anything else is started: what a server says of a failed start is long."""
    decoder = SandboxDecoder(settings)
    try:
        await decoder.start()
    finally:
        await decoder.aclose()


class GatewayServer(uvicorn.Server):
    """Uvicorn with the gateway's connections, and a shutdown that tells every client how its request ends."""

    def __init__(self, app: FastAPI, settings: Settings):
        self._app = app
        self._settings = settings
        self._connections = Connections(most_connections(settings.max_connections))
        self._keeping: asyncio.Task[None] | None = None
        # The event loop's time at which a part of the shutdown has taken long enough.
        self._deadline = 0.0
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=partial(GatewayProtocol, settings, self._connections),  # type: ignore[arg-type]
            ws="none",
            access_log=False,
            log_level="warning",
            # As everything else is logged.
            log_config=None,
            timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]
            server_header=False,
            # Otherwise it believes whatever program of the same machine connects.
            proxy_headers=bool(settings.believed_proxies()),
            forwarded_allow_ips=settings.believed_proxies(),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        put_event_loop_first()
        await super().startup(sockets)
        self._keeping = asyncio.create_task(self._connections.run())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, wait for requests, and end those that take too long."""
        loop = asyncio.get_running_loop()
        drain_s, notice_s = self._settings.drain_timeout_s, self._settings.drain_notice_s
        log.info("gateway_draining", requests=len(self.server_state.tasks), at_most_s=drain_s)
        self._deadline = loop.time() + drain_s
        self._app.state.draining = True
        self._connections.ending = True
        noticed = loop.time() + notice_s
        await self._wait(lambda: loop.time() >= noticed)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not await self._wait(self._all_gone):
            await self._end_requests()
        if self._keeping is not None:
            self._keeping.cancel()
        await self.lifespan.shutdown()
        log.info("gateway_stopped")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the shutdown; each further one ends the part of it that is on its way."""
        self._deadline = 0.0
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's, which would raise the signals again: a gateway that stops when it is told to has not failed."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def _wait(self, over: Callable[[], bool]) -> bool:
        """Wait until something is over. Returns False where it is not at the deadline."""
        while not over():
            if asyncio.get_running_loop().time() >= self._deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def _all_gone(self) -> bool:
        return not (self.server_state.connections or self.server_state.tasks)

    async def _end_requests(self) -> None:
        tasks, loop = self.server_state.tasks, asyncio.get_running_loop()
        log.warning("requests_given_up", requests=len(tasks))
        error = GatewayStopping("The gateway has stopped. Send the request again.", retry_after_s=1)
        # First those that wait for a worker, whose answers may have begun; then those that are not so far.
        self._app.state.services.hub.end_all(error)
        await asyncio.sleep(POLL_S)
        self._connections.stop(error)
        self._deadline = loop.time() + ENDING_S
        if await self._wait(self._all_gone):
            return
        # Clients that do not read what they get.
        self._connections.abort()
        self._deadline = loop.time() + ENDING_S
        if await self._wait(self._all_gone):
            return
        while tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
