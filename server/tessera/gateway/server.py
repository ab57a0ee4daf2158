"""``tessera gateway``: the application under uvicorn."""

from __future__ import annotations

import asyncio
from functools import partial

import uvicorn
from fastapi import FastAPI

from tessera.gateway.app import create_app
from tessera.gateway.connections import Connections
from tessera.gateway.descriptors import most_connections, raise_descriptor_limit
from tessera.gateway.protocol import GatewayProtocol
from tessera.settings import Settings


def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running requests get ``TESSERA_DRAIN_TIMEOUT_S`` to end."""
    raise_descriptor_limit()
    GatewayServer(create_app(settings), settings).run()


class GatewayServer(uvicorn.Server):
    """Uvicorn with the gateway's connections."""

    def __init__(self, app: FastAPI, settings: Settings):
        self._connections = Connections(most_connections(settings.max_connections))
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
            timeout_graceful_shutdown=int(settings.drain_timeout_s),
            timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]
            server_header=False,
        )
        super().__init__(config)

    async def main_loop(self) -> None:
        """Serve until told to exit."""
        keeping = asyncio.create_task(self._connections.run())
        try:
            await super().main_loop()
        finally:
            keeping.cancel()
