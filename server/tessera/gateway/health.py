"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tessera.errors import QueueUnavailable
from tessera.gateway.services import Services
from tessera.telemetry import metrics

router = APIRouter(tags=["Operation"])


@router.get("/livez", response_class=PlainTextResponse)
async def livez() -> str:
    """200 while the process answers."""
    return "ok"


@router.get("/readyz", responses={503: {"description": "Redis does not answer, or no worker serves a model."}})
async def readyz(request: Request) -> JSONResponse:
    """200 when a worker serves a model, 503 otherwise, with what is missing."""
    services: Services = request.app.state.services
    try:
        await services.broker.ping()
        await services.catalogue.refresh()
        redis = "ok"
    except QueueUnavailable:
        redis = "unreachable"
    workers = {m.card.model: m.workers for m in services.catalogue.known()}
    ready = redis == "ok" and services.catalogue.ready
    return JSONResponse({"ready": ready, "redis": redis, "workers": workers}, 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def read_metrics(request: Request) -> Response:
    """Prometheus metrics of this gateway, and of the queue that all gateways share."""
    services: Services = request.app.state.services
    for model in services.catalogue.known():
        name = model.card.model
        metrics.WORKERS.labels(name).set(model.workers)
        try:
            waiting, running = await services.broker.depth(name)
        except QueueUnavailable:
            break
        metrics.QUEUE_DEPTH.labels(name).set(waiting)
        metrics.JOBS_RUNNING.labels(name).set(running)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
