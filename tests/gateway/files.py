"""Forms with files, as clients send them."""

from __future__ import annotations

import io
import json
from typing import Any

from tests.gateway.scripted import Answer, Gateway

BOUNDARY = "b0undary"
TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(head: str, body: bytes | str) -> bytes:
    """One part of a form."""
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + (body if isinstance(body, bytes) else body.encode()) + b"\r\n"


def field(name: str, value: str) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


def file_part(body: bytes, *, name: str = "file", filename: str = "a.txt") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"; filename="{filename}"', body)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def usual(body: bytes = b"hello", **named: str) -> bytes:
    """A form as the server wants it."""
    return form(field("purpose", "user_data"), file_part(body, **named))


async def post_form(
    gateway: Gateway, body: Any, path: str = "/v1/files", headers: dict[str, str] | None = None
) -> Answer:
    # As a file, which is sent piece by piece: all at once would stop the loop that the gateway runs in, too.
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    async with gateway.http.post(gateway.url + path, data=data, headers={**TYPE, **(headers or {})}) as response:
        return Answer(response.status, response.headers, await response.read())


async def ask(
    gateway: Gateway, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
) -> Answer:
    async with gateway.http.request(method, gateway.url + path, headers=headers, **options) as response:
        return Answer(response.status, response.headers, await response.read())


async def create(gateway: Gateway, body: bytes = b"hello", headers: dict[str, str] | None = None) -> str:
    """The id of a new file."""
    answer = await post_form(gateway, usual(body), headers=headers)
    assert answer.status == 200, answer.body
    return str(json.loads(answer.body)["id"])
