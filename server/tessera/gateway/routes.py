"""How requests find their handlers: exactly, and ``HEAD`` wherever ``GET`` does."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send


def match_exactly(routes: Iterable[BaseRoute]) -> None:
    """Have paths match to their last character: Starlette's patterns end before a final line feed as well."""
    for route in routes:
        if isinstance(route, Route):
            route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")


class HeadAsGet:
    """ASGI middleware: the server leaves out the body of what answers ``HEAD``, so ``GET``'s answer will do."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # Who would have to work for a body is told.
            scope = {**scope, "method": "GET", "tessera.head": True}
        await self._app(scope, receive, send)
