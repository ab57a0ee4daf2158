"""``/sd/workers``: where Prometheus finds the workers' own metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from tessera.gateway.schema import ERRORS
from tessera.gateway.services import Services

router = APIRouter(tags=["Operation"])


class TargetGroup(BaseModel):
    """As Prometheus' HTTP service discovery takes it."""

    targets: list[str] = Field(description="Address and port.")
    labels: dict[str, str] = Field(description="`model`, and `worker`, its id as in `tessera explain`.")


@router.get("/sd/workers", responses={503: ERRORS[503]})
async def discover_workers(request: Request) -> list[TargetGroup]:
    """For `http_sd_configs`: live workers that have metrics of their own (`TESSERA_WORKER_METRICS_PORT`)."""
    services: Services = request.app.state.services
    found = await services.catalogue.workers()
    return [
        TargetGroup(targets=[card.metrics], labels={"model": card.model, "worker": worker})
        for worker, card in found
        if card.metrics
    ]
