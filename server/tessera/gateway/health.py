"""``/livez``, ``/readyz``, ``/version`` and ``/metrics``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tessera import __version__
from tessera.errors import QueueUnavailable
from tessera.gateway.census import tell_census
from tessera.gateway.services import Services

router = APIRouter(tags=["Operation"])


@router.get("/livez", response_class=PlainTextResponse)
async def livez() -> str:
    """200 while the process answers."""
    return "ok"


@router.get("/version")
async def version() -> dict[str, str]:
    """The server's version."""
    return {"version": __version__}


_UNREADY: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "Redis does not answer, or cannot be used as it is set up; no worker serves a model; or the "
        "gateway is about to stop.",
        "content": {"application/json": {"schema": {"type": "object", "required": ["ready"]}}},
    }
}


# The other names are those under which vLLM is asked whether its engine is healthy.
@router.get("/readyz", responses=_UNREADY)
@router.get("/health", responses=_UNREADY)
@router.get("/ping", responses=_UNREADY)
@router.post("/ping", include_in_schema=False)
async def readyz(request: Request) -> JSONResponse:
    """200 when a worker serves a model, 503 otherwise, with what is missing."""
    if request.app.state.draining:
        return JSONResponse({"ready": False, "draining": True}, 503)
    services: Services = request.app.state.services
    try:
        await services.broker.ping()
        await services.catalogue.refresh()
        redis = services.watch.problems.get("queue", "ok")
    except QueueUnavailable:
        redis = "unreachable"
    workers = {m.card.model: m.workers for m in services.catalogue.known()}
    ready = redis == "ok" and services.catalogue.ready
    told = {"ready": ready, "redis": redis, "workers": workers, "media_sandbox": services.stage.confinement}
    if problem := services.watch.problems.get("media"):
        told |= {"ready": False, "media_redis": problem}
    return JSONResponse(told, 200 if told["ready"] else 503)


_TEXT = {"schema": {"type": "string"}}


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}}},
)
async def read_metrics(request: Request) -> Response:
    """Prometheus metrics of this gateway, and of the queue that all gateways share.

    As OpenMetrics where that is asked for: with exemplars, which name traces.
    """
    services: Services = request.app.state.services
    await tell_census(services)
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), media_type=media_type)
