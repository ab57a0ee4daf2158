"""A worker's metrics, vLLM's own among them, where Prometheus reaches them: that port serves nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.queue import Address
from tessera.settings import Settings

log = structlog.get_logger()


@asynccontextmanager
async def serve_metrics(settings: Settings) -> AsyncIterator[str]:
    """Serve ``/metrics`` of this process while the context lasts.

    Yields:
        Address and port to ask it at; empty where none is wanted, or no port is free.
    """
    if not settings.worker_metrics_port:
        yield ""
        return
    try:
        listener = _listen(settings.worker_metrics_port)
    except OSError as error:
        log.warning("metrics_port_failed", port=settings.worker_metrics_port, error=str(error))
        yield ""
        return
    with listener:
        host, port = settings.worker_metrics_address or _own_address(settings), listener.getsockname()[1]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        app = Starlette(routes=[Route("/metrics", _metrics)])
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        log.info("worker_metrics", at=place)
        try:
            yield place
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait([serving])


async def _metrics(request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _listen(port: int) -> socket.socket:
    """On all addresses; a further replica of the same machine takes whatever port is free."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError:
        return socket.create_server(("", 0), family=family, dualstack_ipv6=dual)


def _own_address(settings: Settings) -> str:
    """The address that this machine has on its way to Redis, where others of the same network find it as well."""
    hosts = Address.parse(settings.redis_url, settings).hosts
    if not hosts:
        return "127.0.0.1"  # Redis is on this machine
    [(family, kind, protocol, _, target), *_] = socket.getaddrinfo(*hosts[0], type=socket.SOCK_DGRAM)
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(target)  # sends nothing
        return str(probe.getsockname()[0])
