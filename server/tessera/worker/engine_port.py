"""vLLM's own application on a loopback port: its ``/metrics`` for an operator, and the other side of benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

log = structlog.get_logger()


@asynccontextmanager
async def serve_engine_port(app: ASGIApp, port: int) -> AsyncIterator[None]:
    """Serve ``app`` while the context lasts; a port that is taken (a second replica) costs a warning, not the worker."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    serving.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait([serving])


def _tell_failure(serving: asyncio.Task[None]) -> None:
    if not serving.cancelled() and (error := serving.exception()) is not None:
        log.warning("engine_port_failed", error=str(error))
