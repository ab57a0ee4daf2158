"""The gateway's application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from tessera import __version__
from tessera.errors import MethodNotAllowed, RouteNotFound, TesseraError
from tessera.gateway import generation, health, models, requests
from tessera.gateway.failsafe import Failsafe
from tessera.gateway.request_id import RequestIds
from tessera.gateway.routes import HeadAsGet, match_exactly
from tessera.gateway.services import open_services
from tessera.settings import Settings

log = structlog.get_logger()

DESCRIPTION = """OpenAI-compatible gateway to multimodal language models.

Fields that are not listed here are passed to vLLM as they are."""


def create_app(settings: Settings) -> FastAPI:
    """The application; it connects when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            log.info("gateway_ready", gateway=services.gateway_id, port=settings.port)
            yield

    app = FastAPI(
        title="Tessera", version=__version__, description=DESCRIPTION, lifespan=lifespan, redirect_slashes=False
    )
    app.state.draining = False
    for resource in (generation, requests, models, health):
        app.include_router(resource.router)
    match_exactly(app.routes)
    app.add_exception_handler(TesseraError, _tessera_error)
    app.add_exception_handler(HTTPException, _http_error)
    # What is added last comes first.
    app.add_middleware(Failsafe)
    app.add_middleware(HeadAsGet)
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
    return JSONResponse(error.body(), error.status, error.headers())


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    if error.status_code == 405:
        wrong_method = MethodNotAllowed(f"{path} does not take {method}. See GET /docs.")
        allowed = set((error.headers or {})["Allow"].split(", "))
        if "GET" in allowed:
            allowed.add("HEAD")
        return JSONResponse(wrong_method.body(), wrong_method.status, {"Allow": ", ".join(sorted(allowed))})
    return await _tessera_error(request, RouteNotFound(f"There is no {method} {path}. GET /docs lists what there is."))
