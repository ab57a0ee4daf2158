"""What the gateway itself needs to know of a generation request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tessera.errors import InvalidRequest, MissingField
from tessera.gateway.body.document import Document
from tessera.gateway.body.width import width_of

# Characters; error messages and the log repeat a model's name.
LONGEST_NAME = 512


@dataclass(frozen=True, slots=True)
class Options:
    """What the gateway needs to know of a generation request.

    Attributes:
        sequences: that it occupies in the engine's batch.
        hide_usage: the usage chunk is the server's own wish; the client does not get it.
    """

    model: str
    stream: bool
    sequences: int
    hide_usage: bool


def read_options(document: Document, required: str, most_sequences: int) -> Options:
    """Check the fields that the gateway itself uses, and ask for the usage of a stream.

    Args:
        document: on streams, ``stream_options.include_usage`` is set in what goes on.
        required: the field that carries the prompt.
        most_sequences: see ``TESSERA_MAX_SEQUENCES``.

    Raises:
        MissingField, InvalidRequest: naming the field.
    """
    body = document.value
    for name in ("model", required):
        if body.get(name) in (None, "", []):
            raise MissingField(f"The field `{name}` is required and must not be empty.", param=name)
    model = body["model"]
    if not isinstance(model, str) or len(document.string(model)) > LONGEST_NAME:
        raise InvalidRequest(f"`model` must be a string of at most {LONGEST_NAME} characters.", param="model")
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    wanted = _stream_options(body)
    sequences = width_of(body, required, most_sequences)
    if not stream:
        return Options(model, False, sequences, False)
    hide = not wanted.get("include_usage")
    asked = {**wanted, "include_usage": True}
    if hide and "continuous_usage_stats" in wanted:
        # It counts with `include_usage` alone, and the client did not ask for that.
        asked["continuous_usage_stats"] = False
    if asked != wanted:
        document.set(("stream_options",), asked)
    return Options(model, True, sequences, hide)


def _stream_options(body: dict[str, Any]) -> dict[str, Any]:
    wanted = body.get("stream_options")
    if not isinstance(wanted, dict | None):
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    for name in ("include_usage", "continuous_usage_stats"):
        if not isinstance((wanted or {}).get(name), bool | None):
            field = f"stream_options.{name}"
            raise InvalidRequest(f"`{field}` must be true or false.", param=field)
    return wanted or {}
