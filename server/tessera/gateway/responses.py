"""``/v1/responses/{id}``: what came of a response, its events once more, what was asked, and its end."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tessera.errors import Cancelled, InvalidRequest
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.event_ids import BEGINNING
from tessera.gateway.follower import follow
from tessera.gateway.item_page import MOST_LISTED, USUALLY_LISTED, ItemPage, Wanted
from tessera.gateway.observation import observe
from tessera.gateway.pieces import Sequenced
from tessera.gateway.request_id import JOB_HEADER, tell
from tessera.gateway.response_object import items_of
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services

router = APIRouter(tags=["Responses"])

_LONGEST_NUMBER = 9
_MISSING: dict[int | str, dict[str, Any]] = {
    404: described("No response of this id is kept, or no longer."),
    503: ERRORS[503],
}
_OBJECT = {"description": "The response.", "content": {"application/json": {"schema": {"type": "object"}}}}
_RETRIEVED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The response; with `stream`, its events.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    },
    400: described("The response has no events, or the number of one is malformed."),
    410: described("Its events are no longer kept, or there is none of that number."),
    **_MISSING,
}


class DeletedResponse(BaseModel):
    """A response that was deleted."""

    id: str
    object: str = "response"
    deleted: bool = True


@router.get("/v1/responses/{response_id}", responses=_RETRIEVED, response_class=Response)
async def retrieve_response(
    request: Request,
    response_id: str,
    stream: Annotated[str, Query(description="`true`: its events; for one that was sent with `stream`.")] = "false",
    starting_after: Annotated[str, Query(description="Only events behind that of this `sequence_number`.")] = "",
) -> Response:
    """A response as it stands, or its events from the beginning or from behind one of them, as they come."""
    services: Services = request.app.state.services
    if stream.lower() not in ("true", "false", "1", "0"):
        raise InvalidRequest("`stream` must be `true` or `false`.", param="stream")
    if stream.lower() in ("true", "1"):
        return Events(services, response_id, _number(starting_after))
    if starting_after:
        raise InvalidRequest("`starting_after` is for streams: send `stream=true` too.", param="starting_after")
    _, shown = await services.responses.find(request.state.tenant, response_id)
    return JSONResponse(shown)


@router.delete("/v1/responses/{response_id}", responses=_MISSING)
async def delete_response(request: Request, response_id: str) -> DeletedResponse:
    """Forget a response. One that runs in the background is cancelled."""
    await request.app.state.services.responses.delete(request.state.tenant, response_id)
    return DeletedResponse(id=response_id)


@router.post(
    "/v1/responses/{response_id}/cancel",
    responses={200: _OBJECT, 400: described("It does not run in the background."), **_MISSING},
    response_class=JSONResponse,
)
async def cancel_response(request: Request, response_id: str) -> Response:
    """Cancel a response that runs in the background. One that has ended stays as it is."""
    return JSONResponse(await request.app.state.services.responses.cancel(request.state.tenant, response_id))


@router.get("/v1/responses/{response_id}/input_items", responses={400: ERRORS[400], **_MISSING})
async def list_input_items(
    request: Request,
    response_id: str,
    limit: Annotated[str, Query(description=f"Most items, from 1 to {MOST_LISTED}.")] = str(USUALLY_LISTED),
    order: Annotated[str, Query(description="`asc` or `desc`, as they stand in `input`.")] = "desc",
    after: Annotated[str, Query(description="The id of an item, behind which they begin.")] = "",
) -> ItemPage:
    """What the client sent for this response alone, the last item first."""
    wanted = Wanted.read(limit, order, after)
    stored, _ = await request.app.state.services.responses.find(request.state.tenant, response_id)
    return ItemPage.of(items_of(stored), wanted)


class Events(Response):
    """A response's events, to one more reader. When that leaves, the response goes on."""

    def __init__(self, services: Services, response_id: str, after: int):
        super().__init__()
        self._services = services
        self._response_id = response_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        path: str = scope["route"].path
        # Counted and logged within; there is nobody left to answer.
        with suppress(Cancelled), observe(path, scope["state"]["tenant"]) as seen:
            async with cancel_on_disconnect(receive):
                stored, _ = await self._services.responses.find(seen.tenant, self._response_id)
                if not stored.stream:
                    raise InvalidRequest("It was sent without `stream`, so that it has no events.", param="stream")
                record = await self._services.responses.record(stored)
                seen.model, seen.job_id = record.model, record.id
                tell(scope, JOB_HEADER, record.id)
                pieces = Sequenced(self._after)
                await follow(self._services, record, BEGINNING, scope, send, seen, pieces=pieces)


def _number(text: str) -> int:
    if not text:
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER):
        raise InvalidRequest("`starting_after` must be the `sequence_number` of an event.", param="starting_after")
    return int(text)
