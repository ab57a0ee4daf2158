"""``POST /v1/chat/completions`` and ``POST /v1/completions``."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.errors import Cancelled
from tessera.gateway import schema
from tessera.gateway.body import CHAT, COMPLETION, Document, Endpoint, Options, Share, read_body, read_options
from tessera.gateway.directives import read_directives
from tessera.gateway.observation import observe
from tessera.gateway.relay import Relay
from tessera.gateway.services import Services
from tessera.queue import Once

router = APIRouter(tags=["Generation"])


class Generation(Response):
    """Answers one request, observed from its arrival to its last byte."""

    def __init__(self, services: Services, request: Request, endpoint: Endpoint):
        super().__init__()
        self._services = services
        self._request = request
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request (ASGI)."""
        # Of the table of routes, not what the client sent: it becomes a label of metrics.
        path: str = scope["route"].path
        # Counted and logged within; there is nobody left to answer.
        seen_by, room = observe(path, scope["state"]["tenant"]), self._services.bodies.enter()
        with suppress(Cancelled), seen_by as seen, room as share:
            directives = read_directives(self._request.headers)
            settings = self._services.settings
            raw = await self._read(share)
            once = None
            if directives.key:
                once = await asyncio.to_thread(Once.of, directives.key, path, raw, tenant=seen.tenant)
            document = await Document.read(raw, settings.max_body_values)
            options = await document.run(self._understand)
            relay = Relay(self._services, path, document, options, directives, once, seen, share)
            del raw, document
            await relay(scope, receive, send)

    def _understand(self, document: Document) -> Options:
        return read_options(document, self._endpoint, self._services.settings.max_sequences)

    async def _read(self, share: Share) -> bytearray:
        settings = self._services.settings
        most_bytes, limit_s = settings.max_body_bytes, settings.body_timeout_s
        try:
            return await read_body(self._request, share, most_bytes=most_bytes, limit_s=limit_s)
        except ClientDisconnect as error:
            raise Cancelled("The client closed the connection before its request was complete.") from error


@router.post("/v1/chat/completions", **schema.chat_completions)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, whose messages may mix text, images, videos and audio."""
    return Generation(request.app.state.services, request, CHAT)


@router.post("/v1/completions", **schema.completions)
async def create_completion(request: Request) -> Response:
    """Continue a text."""
    return Generation(request.app.state.services, request, COMPLETION)
