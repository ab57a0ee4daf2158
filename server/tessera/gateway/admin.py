"""``/admin``: what only the operator may see, by a key of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from tessera.errors import RequestNotFound
from tessera.gateway.requests import is_id
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services
from tessera.queue import Explanation, spellings_of

router = APIRouter(tags=["Administration"], prefix="/admin/v1")

_RESPONSES: dict[int | str, dict[str, Any]] = {
    403: described("The server has no key for its administration."),
    404: described("No request of this id is known, or no longer."),
    503: ERRORS[503],
}


@router.get("/requests/{request_id}", responses=_RESPONSES)
async def explain_request(request: Request, request_id: str) -> Explanation:
    """What became of a request, of any tenant: every state with its time and worker, its media, tokens and errors.

    Times are Unix time in milliseconds, by Redis' clock. Known until its answer is no longer kept.
    """
    services: Services = request.app.state.services
    if is_id(request_id):
        await services.catalogue.refresh()
        services.catalogue.check_reachable()
        found = await services.explanations.find(services.catalogue.names(), spellings_of(request_id))
        if found is not None:
            return found
    raise RequestNotFound("No request of this id is known, or its answer is no longer kept.", param="request_id")
