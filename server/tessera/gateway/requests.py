"""``/v1/requests/{id}``: how a request stands, its answer once more, and its end."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.errors import Cancelled, RequestNotFound
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.event_ids import BEGINNING, EventId
from tessera.gateway.failures import error_of
from tessera.gateway.follower import follow
from tessera.gateway.observation import observe
from tessera.gateway.request_id import JOB_HEADER, tell
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services
from tessera.queue import End, Failure, Record, spellings_of

router = APIRouter(tags=["Requests"])

_ID = re.compile(r"[A-Za-z0-9._:-]{1,256}", re.ASCII)
_STATES = {"queued": "queued", "leased": "running", "cancelled": "cancelled", "evicted": "failed"}
_LAST_EVENT_ID = "Last-Event-ID"

_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: described("No request of this id is known, or no longer."),
    503: ERRORS[503],
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer as its own endpoint gives it: a stream whose events have ids, or a document.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}, "application/json": {"schema": {}}},
    },
    204: {"description": "Nothing follows the event: the stream has ended."},
    400: described("The id of an event is malformed."),
    409: described("The request was cancelled."),
    410: described("The answer is no longer kept, or does not reach as far as the event."),
    **_RESPONSES,
}


class RequestError(BaseModel):
    """Why a request failed."""

    code: str
    message: str | None = Field(description="Null where the answer itself says it.")


class RequestState(BaseModel):
    """How a request stands."""

    id: str = Field(description="As in `X-Tessera-Request-Id`.")
    object: str = "request"
    state: str = Field(description="`queued`, `running`, `completed`, `failed` or `cancelled`.")
    model: str
    endpoint: str = Field(description="Path that it was sent to.")
    stream: bool
    queue_position: int | None = Field(description="1: the next that a worker takes. Null where it does not wait.")
    attempts: int = Field(description="Workers that have taken it; more than one where one died.")
    resumed: bool | None = Field(description="Whether a worker died in its middle. Null until it has ended.")
    queued_at: float = Field(description="Unix time in seconds.")
    started_at: float | None = Field(description="When a worker took it, the last one where there were several.")
    ended_at: float | None
    error: RequestError | None


@router.get("/v1/requests/{request_id}", responses=_RESPONSES)
async def retrieve_request(request: Request, request_id: str) -> RequestState:
    """How a request stands: in the queue, running, or how it ended. Known until its answer is no longer kept."""
    return _state_of(await _find(request.app.state.services, request_id, request.state.tenant))


@router.delete("/v1/requests/{request_id}", responses=_RESPONSES)
async def cancel_request(request: Request, request_id: str) -> RequestState:
    """Cancel a request, waiting or running. One that has ended stays as it is."""
    services: Services = request.app.state.services
    tenant: str = request.state.tenant
    record = await _find(services, request_id, tenant)
    await services.broker.cancel(record.model, record.id)
    return _state_of(await _find(services, record.id, tenant))


@router.get("/v1/requests/{request_id}/events", responses=_EVENTS, response_class=Response)
async def follow_request(
    request: Request,
    request_id: str,
    last_event_id: Annotated[
        str, Header(alias=_LAST_EVENT_ID, description="Of the last event that the client has; before `after`.")
    ] = "",
    after: Annotated[str, Query(description="The same, for clients that cannot set headers.")] = "",
) -> Response:
    """The answer of a request, from its beginning or from behind an event, and what is still to come of it."""
    return Events(request.app.state.services, request_id, last_event_id, after)


class Events(Response):
    """A request's answer, to one more reader. When that leaves, the request goes on."""

    def __init__(self, services: Services, request_id: str, last_event_id: str, after: str):
        super().__init__()
        self._services = services
        self._request_id = request_id
        self._last_event_id = last_event_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        path: str = scope["route"].path
        # Counted and logged within; there is nobody left to answer.
        with suppress(Cancelled), observe(path, scope["state"]["tenant"]) as seen:
            async with cancel_on_disconnect(receive):
                after = self._place()
                record = await _find(self._services, self._request_id, seen.tenant)
                seen.model, seen.job_id = record.model, record.id
                tell(scope, JOB_HEADER, record.id)
                await follow(self._services, record, after, scope, send, seen)

    def _place(self) -> EventId:
        if self._last_event_id:
            return EventId.parse(self._last_event_id, name=_LAST_EVENT_ID)
        return EventId.parse(self._after, name="after") if self._after else BEGINNING


def is_id(given: str) -> bool:
    """Whether it can be one of a request."""
    return _ID.fullmatch(given) is not None


async def _find(services: Services, request_id: str, tenant: str) -> Record:
    """A tenant's request; somebody else's is as if it were not there."""
    if is_id(request_id):
        spellings = spellings_of(request_id)
        models = services.catalogue.names()
        record = await services.records.find(models, spellings)
        if record is None:
            # Of a model that this gateway has not heard of yet.
            await services.catalogue.refresh()
            services.catalogue.check_reachable()
            record = await services.records.find(set(services.catalogue.names()).difference(models), spellings)
        if record is not None and record.tenant == tenant:
            return record
    raise RequestNotFound("No request of this id is known, or its answer is no longer kept.", param="request_id")


def _state_of(record: Record) -> RequestState:
    last, state, error = record.last, _STATES.get(record.state, "completed"), None
    if isinstance(last, Failure):
        given = error_of(last)
        error = RequestError(code=given.code, message=given.message)
    elif isinstance(last, End) and last.error is not None:
        error = RequestError(code=last.error[1], message=None)
    if error is not None and state == "completed":
        state = "failed"
    return RequestState(
        id=record.id,
        state=state,
        model=record.model,
        endpoint=record.path,
        stream=record.stream,
        queue_position=None if record.ahead is None else record.ahead + 1,
        attempts=record.attempts,
        resumed=last.resumed if isinstance(last, End) else None,
        queued_at=record.arrived_ms / 1000,
        started_at=None if record.leased_ms is None else record.leased_ms / 1000,
        ended_at=None if record.ended_ms is None else record.ended_ms / 1000,
        error=error,
    )
