"""The answer to a request on which the gateway itself failed."""

from __future__ import annotations

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tessera.errors import TesseraError

log = structlog.get_logger()


class Failsafe:
    """ASGI middleware for exceptions that nothing else handles.

    Starlette answers them outside of all other middleware, and raises them again for the server to log a second time.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI). An answer that has begun is left incomplete, and the server closes it."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            log.exception("unexpected_error", path=scope.get("path"), answer_begun=started)
            if not started:
                error = TesseraError("The gateway failed on this request; its log says why.")
                await JSONResponse(error.body(), error.status)(scope, receive, send)
