"""The short way out for the pieces of an answer.

Middleware sees every message of an answer, and has to do with its first one alone. Five calls less for each token.
"""

from __future__ import annotations

from starlette.types import Scope, Send

_EXTENSION = "tessera.direct"


def offer_direct(scope: Scope, send: Send) -> None:
    """Have a request's handler find the server's own ``send``, before anything wraps it."""
    scope.setdefault("extensions", {})[_EXTENSION] = send


def direct(scope: Scope, send: Send) -> Send:
    """For what follows the head of an answer: the server's own ``send``, or ``send`` where there is none."""
    found: Send = scope.get("extensions", {}).get(_EXTENSION, send)
    return found
