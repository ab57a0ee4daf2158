"""Reading a request's body: what the gateway must understand of it. Everything else passes through untouched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from tessera.errors import InvalidJSON, InvalidRequest, MissingField, RequestTooLarge

# Characters; error messages and the log repeat a model's name.
LONGEST_NAME = 512


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
    if declared is not None and declared.isdecimal() and int(declared) > most_bytes:
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
    if not isinstance(body["model"], str) or len(body["model"]) > LONGEST_NAME:
        raise InvalidRequest(f"`model` must be a string of at most {LONGEST_NAME} characters.", param="model")
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    wanted = _stream_options(body)
    if not stream:
        return Options(body["model"], False, False)
    hide = not wanted.get("include_usage")
    body["stream_options"] = {**wanted, "include_usage": True}
    if hide and "continuous_usage_stats" in wanted:
        # It counts with `include_usage` alone, and the client did not ask for that.
        body["stream_options"]["continuous_usage_stats"] = False
    return Options(body["model"], True, hide)


def _stream_options(body: dict[str, Any]) -> dict[str, Any]:
    wanted = body.get("stream_options")
    if not isinstance(wanted, dict | None):
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    for name in ("include_usage", "continuous_usage_stats"):
        if not isinstance((wanted or {}).get(name), bool | None):
            field = f"stream_options.{name}"
            raise InvalidRequest(f"`{field}` must be true or false.", param=field)
    return wanted or {}


def dump_json(body: dict[str, Any]) -> bytes:
    """The body as it goes on.

    Raises:
        InvalidJSON: it is nested too deeply (``orjson`` reads deeper than it writes).
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidJSON(f"The request body cannot be passed on: {error}.") from error


def sequences(body: dict[str, Any]) -> int:
    """Sequences that the request occupies in the engine's batch: its choices times its prompts."""
    n = body.get("n")
    choices = n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 1
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return choices * (len(prompt) if several else 1)  # type: ignore[arg-type]
