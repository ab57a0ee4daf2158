"""Errors as Anthropic's API tells them: another body, and types that follow from the status alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_body(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an error.

    Args:
        status: of the answer, or that it would have had.
        body: the same error in OpenAI's form. What Anthropic has no member for, ``param`` and ``code``, stays.
    """
    error = body["error"]
    usual = "api_error" if status >= 500 else "invalid_request_error"
    named = {"type": _TYPES.get(status, usual), "message": error["message"]}
    return {"type": "error", "error": {**named, "param": error.get("param"), "code": error.get("code")}}
