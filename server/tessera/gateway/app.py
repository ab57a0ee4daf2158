"""The gateway's application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from tessera import __version__
from tessera.errors import MethodNotAllowed, RouteNotFound, TesseraError
from tessera.gateway import (
    adapters,
    admin,
    aliases,
    batches,
    conversations,
    estimate,
    files,
    generation,
    health,
    models,
    realtime,
    requests,
    responses,
    service_discovery,
    uploads,
)
from tessera.gateway.authentication import Authentication, describe_keys, open_paths
from tessera.gateway.batch_runner import running_batches
from tessera.gateway.components import share_components
from tessera.gateway.dialect import dialect_of
from tessera.gateway.examples import give_examples
from tessera.gateway.failsafe import Failsafe
from tessera.gateway.message_schema import COMPONENTS
from tessera.gateway.pages import add_docs
from tessera.gateway.request_id import RequestIds
from tessera.gateway.routes import HeadAsGet, match_exactly
from tessera.gateway.schema import ANTHROPIC_ERROR, ERROR, describe_dialects, leave_out_unused_refusals
from tessera.gateway.services import open_services
from tessera.settings import Settings
from tessera.telemetry import metrics
from tessera.tenants import KeyRing

log = structlog.get_logger()

DESCRIPTION = """OpenAI-compatible gateway to multimodal language models.

Fields that are not listed here are passed to vLLM as they are."""


class _Application(FastAPI):
    """FastAPI's, which does not know of keys: they are not its handlers' business."""

    def openapi(self) -> dict[str, Any]:
        """The description of the API."""
        if self.openapi_schema is None:
            described = super().openapi()
            leave_out_unused_refusals(described)
            describe_keys(described)
            describe_dialects(described)
            give_examples(described)
            share_components(described, {**COMPONENTS, "Error": ERROR, "AnthropicError": ANTHROPIC_ERROR})
        assert self.openapi_schema is not None, "it was just made"
        return self.openapi_schema


def create_app(settings: Settings) -> FastAPI:
    """The application; it connects when it starts.

    Raises:
        KeysUnreadable: the settings name keys that cannot be read.
    """
    keys = KeyRing(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services, running_batches(services):
            app.state.services = services
            log.info("gateway_ready", gateway=services.gateway_id, port=settings.port)
            yield

    app = _Application(
        title="Tessera",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.draining = False
    metrics.BUILD.labels(__version__).set(1)
    for resource in (
        generation, realtime, responses, conversations, estimate, requests, files, uploads, batches, models, health,
        service_discovery, admin, adapters, aliases,
    ):  # fmt: skip
        app.include_router(resource.router)
    add_docs(app)
    match_exactly(app.routes)
    app.add_exception_handler(TesseraError, _tessera_error)
    app.add_exception_handler(HTTPException, _http_error)
    # What is added last comes first.
    app.add_middleware(Failsafe)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Authentication, keys=keys, exempt=open_paths(settings), admin_key=settings.admin_key)
    if origins := settings.allowed_origins():
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id", "X-Tessera-Request-Id", "Idempotency-Replayed"],
        )
    app.add_middleware(RequestIds)
    return app


async def _tessera_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TesseraError)
    return JSONResponse(dialect_of(request.url.path).body(error), error.status, error.headers())


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    if error.status_code == 405:
        wrong_method = MethodNotAllowed(f"{path} does not take {method}. See GET /docs.")
        allowed = set((error.headers or {})["Allow"].split(", "))
        if "GET" in allowed:
            allowed.add("HEAD")
        return JSONResponse(
            dialect_of(path).body(wrong_method), wrong_method.status, {"Allow": ", ".join(sorted(allowed))}
        )
    return await _tessera_error(request, RouteNotFound(f"There is no {method} {path}. GET /docs lists what there is."))
