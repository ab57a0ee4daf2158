"""``/v1/uploads``: large files in parts."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request

from tessera.errors import InvalidRequest, MissingField
from tessera.files import MOST_PART_BYTES
from tessera.gateway.file_object import PURPOSES, PartObject, UploadObject, read_purpose, read_ttl
from tessera.gateway.files import RESPONSES, ROOM_ERRORS, form_body
from tessera.gateway.form import clean_filename, expected_bytes, read_form
from tessera.gateway.object_body import read_object
from tessera.gateway.schema import described
from tessera.gateway.services import Services

router = APIRouter(tags=["Uploads"])

_MOST_BODY_BYTES = 256 * 1024
_LONGEST_MIME = 255
_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_RESPONSES = {404: described("There is no upload of this id, or no longer."), **ROOM_ERRORS, **RESPONSES}
_ANNOUNCED = {
    "type": "object",
    "required": ["bytes", "filename", "mime_type", "purpose"],
    "properties": {
        "bytes": {"type": "integer", "minimum": 1, "description": "What the file will have."},
        "filename": {"type": "string", "minLength": 1},
        "mime_type": {"type": "string"},
        "purpose": {"type": "string", "enum": [*PURPOSES]},
        "expires_after": {
            "type": ["object", "null"],
            "required": ["anchor", "seconds"],
            "properties": {
                "anchor": {"type": "string", "enum": ["created_at"]},
                "seconds": {"type": "integer", "minimum": 1},
            },
        },
    },
    "example": {"bytes": 104_857_600, "filename": "film.mp4", "mime_type": "video/mp4", "purpose": "user_data"},
}
_ORDER = {
    "type": "object",
    "required": ["part_ids"],
    "properties": {
        "part_ids": {"type": "array", "items": {"type": "string"}, "description": "In the order of the file."},
        "md5": {"type": ["string", "null"], "pattern": "^[0-9a-fA-F]{32}$", "description": "Of the whole file."},
    },
    "example": {"part_ids": ["part_0199d0a8b3c1f2e4d5c6b7a897868501", "part_0199d0a8b3c1f2e4d5c6b7a897868502"]},
}
_PART = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "format": "binary"}},
    "example": {"data": "film.mp4.00"},
}


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post("/v1/uploads", responses=_RESPONSES, openapi_extra=_json_body(_ANNOUNCED))
async def create_upload(request: Request) -> UploadObject:
    """Announce a file that comes in parts, of up to 64 MiB each."""
    services: Services = request.app.state.services
    files = services.require_files()
    given = await read_object(request, services, most_bytes=_MOST_BODY_BYTES)
    nbytes, after = given.get("bytes"), given.get("expires_after")
    if not isinstance(nbytes, int) or isinstance(nbytes, bool) or nbytes < 1:
        raise InvalidRequest("`bytes` must be a whole number, at least 1.", param="bytes")
    filename, mime = _string(given, "filename"), _string(given, "mime_type")
    if len(mime) > _LONGEST_MIME:
        raise InvalidRequest(f"`mime_type` may have {_LONGEST_MIME} characters.", param="mime_type")
    if not isinstance(after, dict | None):
        raise InvalidRequest("`expires_after` must be an object.", param="expires_after")
    ends = (after.get("anchor"), after.get("seconds")) if after is not None else (None, None)
    described_as = {"filename": clean_filename(filename, param="filename"), "mime": mime}
    purpose, ttl_s = read_purpose(given.get("purpose")), read_ttl(*ends, files.longest_s)
    tenant = request.state.tenant
    return UploadObject.of(
        await files.uploads.create(tenant, nbytes=nbytes, purpose=purpose, ttl_s=ttl_s, **described_as)
    )


@router.post("/v1/uploads/{upload_id}/parts", responses=_RESPONSES, openapi_extra=form_body(_PART))
async def add_part(request: Request, upload_id: str) -> PartObject:
    """Send a part, in a form with `data`. Parts may come in any order, and at once."""
    services: Services = request.app.state.services
    files, limit_s = services.require_files(), services.settings.files_body_timeout_s
    with services.bodies.enter() as share:
        await share.grow(files.room_bytes)
        async with files.uploads.receiving(request.state.tenant, upload_id, expected_bytes(request)) as receipt:
            take = receipt.content.write
            await read_form(request, "data", take, most_bytes=MOST_PART_BYTES, limit_s=limit_s)
            return PartObject.of(await receipt.finish())


@router.post("/v1/uploads/{upload_id}/complete", responses=_RESPONSES, openapi_extra=_json_body(_ORDER))
async def complete_upload(request: Request, upload_id: str) -> UploadObject:
    """Make the file of its parts. Repeated, it answers with the same file."""
    services: Services = request.app.state.services
    files = services.require_files()
    given = await read_object(request, services, most_bytes=_MOST_BODY_BYTES)
    part_ids, md5 = given.get("part_ids"), given.get("md5")
    if not isinstance(part_ids, list) or not all(isinstance(part_id, str) for part_id in part_ids):
        raise InvalidRequest("`part_ids` must be an array of ids of parts.", param="part_ids")
    if md5 is not None and not (isinstance(md5, str) and _MD5.fullmatch(md5)):
        raise InvalidRequest("`md5` must be 32 hexadecimal digits.", param="md5")
    with services.bodies.enter() as share:
        await share.grow(files.room_bytes)
        return UploadObject.of(await files.uploads.complete(request.state.tenant, upload_id, part_ids, md5 or ""))


@router.post("/v1/uploads/{upload_id}/cancel", responses=_RESPONSES)
async def cancel_upload(request: Request, upload_id: str) -> UploadObject:
    """Give an upload up."""
    files = request.app.state.services.require_files()
    return UploadObject.of(await files.uploads.cancel(request.state.tenant, upload_id))


def _string(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        raise MissingField(f"`{name}` must be a string.", param=name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"`{name}` must be a string.", param=name)
    return value
