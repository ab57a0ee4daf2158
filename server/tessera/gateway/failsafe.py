"""The answer to a request on which the gateway itself failed."""

from __future__ import annotations

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.errors import unexpected
from tessera.gateway.dialect import dialect_of

log = structlog.get_logger()


class Failsafe:
    """ASGI middleware for exceptions that nothing else handles.

    Starlette answers them outside of all other middleware, and raises them again for the server to log a second time.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI). Where an answer has begun, the server takes no other and closes the connection."""
        try:
            await self._app(scope, receive, send)
        except Exception:
            log.exception("unexpected_error", path=scope.get("path"))
            error = unexpected()
            body = dialect_of(scope.get("path", "")).body(error)
            await JSONResponse(body, error.status)(scope, receive, send)
