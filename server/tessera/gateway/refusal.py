"""Answers that a connection gives in place of the application: to what never became a request."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import orjson

from tessera.errors import TesseraError
from tessera.gateway.request_id import HEADER, new_request_id
from tessera.telemetry import http


def refusal(error: TesseraError, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, bytes]:
    """The bytes of an HTTP answer after which the connection ends; it is counted.

    Args:
        headers: what every answer of the server has.

    Returns:
        Its request id, and itself.
    """
    http.requests_refused.labels(error.code).inc()
    request_id = new_request_id()
    body = orjson.dumps(error.body())
    known = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (HEADER, request_id.encode()),
        *((name.lower().encode(), value.encode()) for name, value in error.headers().items()),
    ]
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()
    lines = [status, *(b"%s: %s" % header for header in [*headers, *known])]
    return request_id, b"\r\n".join([*lines, b"", body])
