"""``/v1/batches``: requests in a file, answered when there is room for them."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from tessera.batches import Batch, new_batch_id
from tessera.errors import (
    BatchesQuotaExceeded,
    BatchMissing,
    BatchNotCancellable,
    FileMissing,
    InvalidRequest,
    MissingField,
)
from tessera.gateway.batch_line import ENDPOINTS
from tessera.gateway.batch_object import BatchList, BatchObject
from tessera.gateway.file_object import read_ttl
from tessera.gateway.files import RESPONSES
from tessera.gateway.metadata import METADATA, read_metadata
from tessera.gateway.object_body import read_object
from tessera.gateway.schema import ERRORS, described
from tessera.gateway.services import Services

router = APIRouter(tags=["Batches"])

WINDOW = "24h"
_MOST_BODY_BYTES = 64 * 1024
_MOST_LISTED = 100
_BODY = {
    "type": "object",
    "required": ["input_file_id", "endpoint", "completion_window"],
    "properties": {
        "input_file_id": {"type": "string", "description": "A file of the purpose `batch`, with a request a line."},
        "endpoint": {"type": "string", "enum": [*ENDPOINTS], "description": "Of all of its requests."},
        "completion_window": {"type": "string", "enum": [WINDOW]},
        "metadata": METADATA,
        "output_expires_after": {
            "type": ["object", "null"],
            "required": ["anchor", "seconds"],
            "properties": {
                "anchor": {"type": "string", "enum": ["created_at"]},
                "seconds": {"type": "integer", "minimum": 1},
            },
        },
    },
    "example": {
        "input_file_id": "file-0199d0a8b3c1f2e4d5c6b7a8978685d4",
        "endpoint": "/v1/chat/completions",
        "completion_window": WINDOW,
    },
}
_EXTRA = {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}}
_MISSING = {404: described("There is no batch of this id, or no longer."), **RESPONSES}
_CREATED: dict[int | str, dict[str, Any]] = {
    400: ERRORS[400],
    404: described("There is no input file of this id, or no longer."),
    429: described("There are as many batches as there may be."),
    **RESPONSES,
}


@router.post("/v1/batches", responses=_CREATED, openapi_extra=_EXTRA)
async def create_batch(request: Request) -> BatchObject:
    """Have the requests in a file answered, within a day, when there is room for them."""
    services: Services = request.app.state.services
    files, tenant = services.require_files(), request.state.tenant
    given = await read_object(request, services, most_bytes=_MOST_BODY_BYTES)
    endpoint, window, after = given.get("endpoint"), given.get("completion_window"), given.get("output_expires_after")
    if endpoint not in ENDPOINTS:
        raise InvalidRequest(f"`endpoint` must be one of {', '.join(ENDPOINTS)}.", param="endpoint")
    if window != WINDOW:
        raise InvalidRequest(f"`completion_window` must be `{WINDOW}`.", param="completion_window")
    metadata = read_metadata(given.get("metadata"))
    if not isinstance(after, dict | None):
        raise InvalidRequest("`output_expires_after` must be an object.", param="output_expires_after")
    ends = (after.get("anchor"), after.get("seconds")) if after is not None else (None, None)
    file_id = given.get("input_file_id")
    if not isinstance(file_id, str) or not file_id:
        raise MissingField("`input_file_id` must be the id of a file.", param="input_file_id")
    try:
        file = await files.find(tenant, file_id)
    except FileMissing as error:
        raise FileMissing(error.message, param="input_file_id") from error
    if file.purpose != "batch":
        raise InvalidRequest("The input file must have the purpose `batch`.", param="input_file_id")
    try:
        ttl_s = read_ttl(*ends, files.longest_s)
    except InvalidRequest as error:
        message = error.message.replace("`expires_after", "`output_expires_after")
        raise InvalidRequest(message, param=f"output_{error.param}") from error
    now = int(time.time())
    times = (now, now + services.settings.batch_window_s, ttl_s)
    batch = Batch(new_batch_id(), tenant, str(endpoint), file_id, *times, metadata)
    if not await services.batches.create(batch):
        raise BatchesQuotaExceeded(
            f"There are {services.settings.max_batches_per_tenant} batches that have not ended, as many as there may "
            "be. Wait for one, or cancel one."
        )
    return BatchObject.of(batch)


@router.get("/v1/batches", responses={400: ERRORS[400], **RESPONSES})
async def list_batches(
    request: Request,
    limit: Annotated[str, Query(description=f"Most batches, from 1 to {_MOST_LISTED}.")] = "20",
    after: Annotated[str, Query(description="The id of a batch, behind which they begin.")] = "",
) -> BatchList:
    """The tenant's batches, the newest first."""
    services: Services = request.app.state.services
    services.require_files()
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= _MOST_LISTED):
        raise InvalidRequest(f"`limit` must be a whole number from 1 to {_MOST_LISTED}.", param="limit")
    if after and await services.batches.find(request.state.tenant, after) is None:
        raise InvalidRequest("`after` must be the id of a batch.", param="after")
    found: list[BatchObject] = []
    async with aclosing(services.batches.newest_first(request.state.tenant, after)) as batches:
        async for batch in batches:
            found.append(BatchObject.of(batch))
            if len(found) > int(limit):
                break
    shown = found[: int(limit)]
    ids = [batch.id for batch in shown]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return BatchList(data=shown, first_id=first, last_id=last, has_more=len(found) > len(shown))


@router.get("/v1/batches/{batch_id}", responses=_MISSING)
async def retrieve_batch(request: Request, batch_id: str) -> BatchObject:
    """How a batch stands."""
    return BatchObject.of(await _find(request, batch_id))


@router.post(
    "/v1/batches/{batch_id}/cancel", responses={**_MISSING, 409: described("The batch has ended, or is about to.")}
)
async def cancel_batch(request: Request, batch_id: str) -> BatchObject:
    """End a batch; what is answered by then is in its files."""
    batch = await _find(request, batch_id)
    status = await request.app.state.services.batches.cancel(batch.id)
    if status not in ("validating", "in_progress", "cancelling", "cancelled"):
        raise BatchNotCancellable(f"The batch cannot be cancelled: it is `{status}`.", param="batch_id")
    return BatchObject.of(await _find(request, batch_id))


async def _find(request: Request, batch_id: str) -> Batch:
    services: Services = request.app.state.services
    services.require_files()
    batch = await services.batches.find(request.state.tenant, batch_id)
    if batch is None:
        raise BatchMissing("There is no batch of this id, or no longer.", param="batch_id")
    return batch
