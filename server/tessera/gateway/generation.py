"""Answers whatever stands in the table of endpoints, through the queue."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.errors import Cancelled
from tessera.gateway import schema
from tessera.gateway.body import Document, Endpoint, Limits, Options, Share, read_body, read_options
from tessera.gateway.directives import read_directives
from tessera.gateway.endpoints import ENDPOINTS, FORMS, RESPONSES
from tessera.gateway.observation import observe
from tessera.gateway.relay import Relay
from tessera.gateway.response_relay import ResponseRelay
from tessera.gateway.services import Services
from tessera.gateway.speech_form import read_speech
from tessera.gateway.speech_relay import SpeechRelay
from tessera.queue import Once

_RELAYS: dict[str, type[Relay]] = {RESPONSES.path: ResponseRelay, **{form.path: SpeechRelay for form in FORMS}}

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
        # Of the table, not what the client sent: it becomes a label of metrics.
        path = self._endpoint.path
        # Counted and logged within; there is nobody left to answer.
        own = self._services.settings
        logged = own.log_requests_percent / 100
        seen_by = observe(path, scope["state"]["tenant"], share=logged, headers=scope["headers"], prices=own)
        room = self._services.bodies.enter()
        with suppress(Cancelled), seen_by as seen, room as share:
            directives = read_directives(self._request.headers)
            settings = self._services.settings
            raw = await self._read(share)
            seen.stage("body")
            once = None
            if directives.key:
                once = await asyncio.to_thread(Once.of, directives.key, path, raw, tenant=seen.tenant)
            document = await Document.read(raw, settings.max_body_values, self._endpoint.reads, media=True)
            options = await document.run(self._understand)
            relay = _RELAYS.get(path, Relay)(
                self._services, self._endpoint, document, options, directives, once, seen, share
            )
            del raw, document
            await relay(scope, receive, send)

    def _understand(self, document: Document) -> Options:
        return read_options(document, self._endpoint, Limits.of(self._services.settings))

    async def _read(self, share: Share) -> bytes | bytearray:
        settings = self._services.settings
        if self._endpoint.form:
            return await read_speech(self._request, self._endpoint, share, settings)
        most_bytes, limit_s = settings.max_body_bytes, settings.body_timeout_s
        try:
            return await read_body(self._request, share, most_bytes=most_bytes, limit_s=limit_s)
        except ClientDisconnect as error:
            raise Cancelled("The client closed the connection before its request was complete.") from error


def _route(endpoint: Endpoint) -> None:
    async def answer(request: Request) -> Response:
        return Generation(request.app.state.services, request, endpoint)

    name = re.sub(r"\W+", "_", endpoint.path).strip("_")
    described = schema.operation(endpoint)
    router.add_api_route(endpoint.path, answer, methods=["POST"], name=name, description=endpoint.about, **described)


for _endpoint in (*ENDPOINTS, *FORMS):
    _route(_endpoint)
