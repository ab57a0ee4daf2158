"""``GET /docs`` and ``GET /redoc``: the description of the API for people, all of it from this server."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

_ASSETS = "assets-of-docs"


def add_docs(app: FastAPI) -> None:
    """Serve the pages, and what they load. Their addresses have no beginning: they work wherever a proxy puts them."""
    app.mount(f"/{_ASSETS}", StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static"))
    description, icon = (app.openapi_url or "").lstrip("/"), f"{_ASSETS}/favicon.png"

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=description,
            title=app.title,
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=icon,
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url=description,
            title=app.title,
            redoc_js_url=f"{_ASSETS}/redoc.standalone.js",
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )
