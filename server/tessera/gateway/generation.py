"""Answers whatever stands in the table of endpoints, through the queue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tessera.errors import Cancelled
from tessera.gateway import schema
from tessera.gateway.body import Document, Endpoint, Limits, Share, read_body, read_options
from tessera.gateway.directives import read_directives
from tessera.gateway.endpoints import ENDPOINTS, FORMS, RESPONSES
from tessera.gateway.observation import observe
from tessera.gateway.relay import Relay
from tessera.gateway.response_relay import ResponseRelay
from tessera.gateway.services import Services
from tessera.gateway.speech_form import read_speech
from tessera.gateway.speech_relay import SpeechRelay
from tessera.queue import Once
from tessera.settings import Settings

_RELAYS: dict[str, type[Relay]] = {RESPONSES.path: ResponseRelay, **{form.path: SpeechRelay for form in FORMS}}


class Generation:
    """Answers the requests to one endpoint (ASGI), each observed from its arrival to its last byte."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        services: Services = scope["app"].state.services
        request = Request(scope, receive)
        # Of the table, not what the client sent: it becomes a label of metrics.
        path = self._endpoint.path
        # Counted and logged within; there is nobody left to answer.
        settings = services.settings
        logged = settings.log_requests_percent / 100
        seen_by = observe(path, scope["state"]["tenant"], share=logged, headers=scope["headers"], prices=settings)
        room = services.bodies.enter()
        with suppress(Cancelled), seen_by as seen, room as share:
            directives = read_directives(request.headers)
            raw = await self._read(request, share, settings)
            seen.stage("body")
            once = None
            if directives.key:
                once = await asyncio.to_thread(Once.of, directives.key, path, raw, tenant=seen.tenant)
            document = await Document.read(raw, settings.max_body_values, self._endpoint.reads, media=True)
            options = await document.run(lambda read: read_options(read, self._endpoint, Limits.of(settings)))
            relay = _RELAYS.get(path, Relay)(services, self._endpoint, document, options, directives, once, seen, share)
            del raw, document
            await relay(scope, receive, send)

    async def _read(self, request: Request, share: Share, settings: Settings) -> bytes | bytearray:
        if self._endpoint.form:
            return await read_speech(request, self._endpoint, share, settings)
        most_bytes, limit_s = settings.max_body_bytes, settings.body_timeout_s
        try:
            return await read_body(request, share, most_bytes=most_bytes, limit_s=limit_s)
        except ClientDisconnect as error:
            raise Cancelled("The client closed the connection before its request was complete.") from error


_ANSWERS = {endpoint.path: Generation(endpoint) for endpoint in (*ENDPOINTS, *FORMS)}


class _Route(APIRoute):
    """FastAPI describes it; to look for parameters in its requests would take as long as to queue them."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        super().__init__(path, endpoint, **options)
        self.app = _ANSWERS[path]


def _described() -> None:
    """Stands for what answers, in the description of the API."""


router = APIRouter(tags=["Generation"], route_class=_Route)
for _endpoint in (*ENDPOINTS, *FORMS):
    _name = re.sub(r"\W+", "_", _endpoint.path).strip("_")
    _operation = schema.operation(_endpoint)
    router.add_api_route(
        _endpoint.path, _described, methods=["POST"], name=_name, description=_endpoint.about, **_operation
    )
