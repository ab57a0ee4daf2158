"""What the gateway itself needs to know of a generation request."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.errors import InvalidRequest, MissingField
from tessera.gateway.body.check import check_members
from tessera.gateway.body.document import Document
from tessera.gateway.body.fields import Endpoint
from tessera.gateway.body.width import width_of

# Characters; error messages and the log repeat a model's name.
LONGEST_NAME = 512
_BY_PART = "usage_by_part"


@dataclass(frozen=True, slots=True)
class Options:
    """What the gateway needs to know of a generation request.

    Attributes:
        sequences: that it occupies in the engine's batch.
        hide_usage: the usage chunk is the server's own wish; the client does not get it.
        by_part: usage is to say what each part was.
    """

    model: str
    stream: bool
    sequences: int
    hide_usage: bool
    by_part: bool = False


def read_options(document: Document, endpoint: Endpoint, most_sequences: int) -> Options:
    """Check the fields that the gateway knows, and ask for the usage of a stream.

    Args:
        document: on streams, ``stream_options.include_usage`` is set in what goes on.
        most_sequences: see ``TESSERA_MAX_SEQUENCES``.

    Raises:
        MissingField, InvalidRequest: naming the field.
    """
    body = document.value
    for name in ("model", endpoint.prompt):
        if body.get(name) in (None, "", []):
            raise MissingField(f"The field `{name}` is required and must not be empty.", param=name)
    model = body["model"]
    if not isinstance(model, str) or len(document.string(model)) > LONGEST_NAME:
        raise InvalidRequest(f"`model` must be a string of at most {LONGEST_NAME} characters.", param="model")
    sequences = width_of(body, endpoint.prompt, most_sequences)
    check_members(endpoint.rules, body)
    by_part = bool(endpoint.prompt != "prompt" and body.get(_BY_PART))
    if _BY_PART in body:
        document.remove((_BY_PART,))  # the server's own
    wanted = body.get("stream_options")
    if not body.get("stream"):
        if wanted:
            raise InvalidRequest("`stream_options` are for streams: send `stream: true` too.", param="stream_options")
        return Options(model, False, sequences, False, by_part)
    wanted = wanted or {}
    hide = not wanted.get("include_usage")
    asked = {**wanted, "include_usage": True}
    if hide and "continuous_usage_stats" in wanted:
        # It counts with `include_usage` alone, and the client did not ask for that.
        asked["continuous_usage_stats"] = False
    if asked != wanted:
        document.set(("stream_options",), asked)
    return Options(model, True, sequences, hide, by_part)
