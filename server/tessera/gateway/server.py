"""``tessera gateway``: the application under uvicorn."""

from __future__ import annotations

import uvicorn

from tessera.gateway.app import create_app
from tessera.settings import Settings


def run_gateway(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running requests get ``TESSERA_DRAIN_TIMEOUT_S`` to end."""
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=int(settings.drain_timeout_s),
        server_header=False,
    )
