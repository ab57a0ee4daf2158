"""A JSON object that is sent to what answers it by itself, without a worker."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from tessera.errors import Cancelled
from tessera.gateway.body import Document, read_body
from tessera.gateway.services import Services


async def read_object(request: Request, services: Services, *, most_bytes: int) -> dict[str, Any]:
    """The object that was sent, which is small. Raises as ``read_document`` does."""
    return (await read_document(request, services, most_bytes=most_bytes)).value


async def read_document(request: Request, services: Services, *, most_bytes: int) -> Document:
    """The object that was sent, which may be large.

    Raises:
        RequestTooLarge: it has more bytes.
        InvalidRequest: it is none.
        Cancelled: the client left.
    """
    settings = services.settings
    try:
        with services.bodies.enter() as share:
            raw = await read_body(request, share, most_bytes=most_bytes, limit_s=settings.body_timeout_s)
            return await Document.read(raw, settings.max_body_values)
    except ClientDisconnect as error:
        raise Cancelled("The client closed the connection before its request was complete.") from error
