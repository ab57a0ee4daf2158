"""Who sends a form: pages of any site may have a browser send one to a server on its reader's machine, unasked.

JSON they may not, which browsers ask the server about before they send it (Fetch standard, "CORS-preflight").
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from tessera.errors import OriginNotAllowed

_ANY = "*"
_OWN = ("same-origin", "none")


def check_origin(request: Request) -> None:
    """Refuse a form that a page of another origin sends, unless the operator allows that, or it has a key.

    Raises:
        OriginNotAllowed
    """
    headers = request.headers
    origin = headers.get("origin")
    if origin is None or headers.get("sec-fetch-site") in _OWN:
        return
    if "authorization" in headers or "x-api-key" in headers:
        return  # a page that sends one was let to, or is a program
    allowed = request.app.state.services.settings.allowed_origins()
    if origin in allowed or _ANY in allowed or urlsplit(origin).netloc == headers.get("host"):
        return
    raise OriginNotAllowed(
        "Pages of other origins may not send forms here: its operator has not named theirs in "
        "TESSERA_CORS_ALLOW_ORIGINS."
    )
