"""``/v1/files``: files that a client uploads once, and refers to by id."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from tessera.errors import InvalidRequest
from tessera.files import is_file_id
from tessera.gateway.file_content import FileContent
from tessera.gateway.file_object import PURPOSES, DeletedFile, FileList, FileObject, read_purpose, read_ttl
from tessera.gateway.form import expected_bytes, read_form
from tessera.gateway.schema import ERRORS, FORM_ERRORS, described
from tessera.gateway.services import Services

router = APIRouter(tags=["Files"])

_MOST_LISTED = 10_000
_USUALLY_LISTED = 1000

RESPONSES: dict[int | str, dict[str, Any]] = {
    501: described("The server has no store for files."),
    503: ERRORS[503],
}
_MISSING = {404: described("There is no file of this id, or no longer."), **RESPONSES}
ROOM_ERRORS: dict[int | str, dict[str, Any]] = {
    400: ERRORS[400],
    413: described("The file is too large."),
    **FORM_ERRORS,
    429: described("There are as many files, or bytes in them, as there may be."),
}
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": [*PURPOSES]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 1},
    },
    "example": {"file": "photo.jpg", "purpose": "vision"},
}


def form_body(schema: dict[str, Any]) -> dict[str, Any]:
    """A form in the description of the API."""
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post("/v1/files", responses={**ROOM_ERRORS, **RESPONSES}, openapi_extra=form_body(_FORM))
async def create_file(request: Request) -> FileObject:
    """Upload a file, in a form with `file` and `purpose`. Larger ones may come in parts: see `/v1/uploads`."""
    services: Services = request.app.state.services
    files, limit_s = services.require_files(), services.settings.files_body_timeout_s
    with services.bodies.enter() as share:
        await share.grow(files.room_bytes)
        async with files.receiving(request.state.tenant, expected_bytes(request)) as receipt:
            take = receipt.content.write
            form = await read_form(request, "file", take, most_bytes=files.most_bytes, limit_s=limit_s)
            anchor, seconds = (form.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
            purpose, ttl_s = read_purpose(form.fields.get("purpose")), read_ttl(anchor, seconds, files.longest_s)
            return FileObject.of(await receipt.finish(filename=form.filename, purpose=purpose, ttl_s=ttl_s))


@router.get("/v1/files", responses={400: ERRORS[400], **RESPONSES})
async def list_files(
    request: Request,
    purpose: Annotated[str, Query(description="Only files of this purpose.")] = "",
    limit: Annotated[str, Query(description=f"Most files, from 1 to {_MOST_LISTED}.")] = str(_USUALLY_LISTED),
    order: Annotated[str, Query(description="`asc` or `desc`, by their times.")] = "desc",
    after: Annotated[str, Query(description="The id of a file, behind which they begin.")] = "",
) -> FileList:
    """The tenant's files, the newest first."""
    files = request.app.state.services.require_files()
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be `asc` or `desc`.", param="order")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= _MOST_LISTED):
        raise InvalidRequest(f"`limit` must be a whole number from 1 to {_MOST_LISTED}.", param="limit")
    if after and not is_file_id(after):
        raise InvalidRequest("`after` must be the id of a file.", param="after")
    asked = {"limit": int(limit), "after": after, "newest_first": order == "desc", "purpose": purpose}
    found, more = await files.page(request.state.tenant, **asked)
    ids = [file.id for file in found] or [None]
    return FileList(data=[FileObject.of(file) for file in found], first_id=ids[0], last_id=ids[-1], has_more=more)


@router.get("/v1/files/{file_id}", responses=_MISSING)
async def retrieve_file(request: Request, file_id: str) -> FileObject:
    """What is known of a file."""
    return FileObject.of(await request.app.state.services.require_files().find(request.state.tenant, file_id))


@router.delete("/v1/files/{file_id}", responses=_MISSING)
async def delete_file(request: Request, file_id: str) -> DeletedFile:
    """Delete a file."""
    await request.app.state.services.require_files().delete(request.state.tenant, file_id)
    return DeletedFile(id=file_id)


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All of it.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {
        "description": "The range of it that `Range` asks for.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    416: described("It has no such range."),
}


@router.get("/v1/files/{file_id}/content", responses={**_CONTENT, **_MISSING}, response_class=Response)
async def retrieve_content(request: Request, file_id: str) -> Response:
    """A file's bytes, or one range of them (`Range`)."""
    files = request.app.state.services.require_files()
    return FileContent(files, await files.find(request.state.tenant, file_id), request)
