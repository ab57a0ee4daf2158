"""Reading a request's body: what the gateway must understand of it. Everything else passes through untouched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from tessera.errors import InvalidJSON, InvalidRequest, MissingField, RequestTooLarge


async def read_json(chunks: AsyncIterator[bytes], declared: str | None, most_bytes: int) -> dict[str, Any]:
    """The body as a JSON object.

    Args:
        chunks: the body as it arrives.
        declared: the Content-Length header.
        most_bytes: limit, checked before and while reading.

    Raises:
        RequestTooLarge, InvalidJSON.
    """
    too_large = RequestTooLarge(
        f"The request body is larger than {most_bytes:,} bytes. Send large media as URLs instead of data URLs."
    )
    if declared is not None and declared.isdigit() and int(declared) > most_bytes:
        raise too_large
    parts, total = [], 0
    async for chunk in chunks:
        total += len(chunk)
        if total > most_bytes:
            raise too_large
        parts.append(chunk)
    try:
        body = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(f"The request body is not valid JSON: {error}.") from error
    if not isinstance(body, dict):
        raise InvalidJSON("The request body must be a JSON object.")
    return body


@dataclass(frozen=True, slots=True)
class Options:
    """What the gateway needs to know of a generation request.

    Attributes:
        hide_usage: the usage chunk is the server's own wish; the client does not get it.
    """

    model: str
    stream: bool
    hide_usage: bool


def read_options(body: dict[str, Any], required: str) -> Options:
    """Check the fields that the gateway itself uses, and ask for the usage of a stream.

    Args:
        body: changed in place: ``stream_options.include_usage`` is set on streams.
        required: the field that carries the prompt.

    Raises:
        MissingField, InvalidRequest: naming the field.
    """
    for name in ("model", required):
        if body.get(name) in (None, "", []):
            raise MissingField(f"The field `{name}` is required and must not be empty.", param=name)
    if not isinstance(body["model"], str):
        raise InvalidRequest("`model` must be a string.", param="model")
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    wanted = body.get("stream_options")
    if not isinstance(wanted, dict | None):
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    if not stream:
        return Options(body["model"], False, False)
    hide = not (wanted or {}).get("include_usage")
    body["stream_options"] = {**(wanted or {}), "include_usage": True}
    return Options(body["model"], True, hide)


def sequences(body: dict[str, Any]) -> int:
    """Sequences that the request occupies in the engine's batch: its choices times its prompts."""
    n = body.get("n")
    choices = n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 1
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return choices * (len(prompt) if several else 1)  # type: ignore[arg-type]
