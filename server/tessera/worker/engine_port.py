"""vLLM's own application on a loopback port: its ``/metrics`` for an operator, and the other side of benchmarks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

log = structlog.get_logger()


@asynccontextmanager
async def serve_engine_port(app: ASGIApp, port: int) -> AsyncIterator[None]:
    """Serve ``app`` while the context lasts; a port that is taken (a second replica's) costs a warning only."""
    try:
        # Not by uvicorn, which ends the process where it cannot.
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        log.warning("engine_port_failed", port=port, error=str(error))
        yield
        return
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    with listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait([serving])
