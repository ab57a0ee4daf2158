"""What the gateway itself needs to know of a request that goes to an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tessera.errors import InvalidRequest, MissingField
from tessera.gateway.body.check import check_members
from tessera.gateway.body.document import Document
from tessera.gateway.body.endpoint import Endpoint
from tessera.gateway.body.width import Limits

# Characters; error messages and the log repeat a model's name.
LONGEST_NAME = 512
_BY_PART = "usage_by_part"


@dataclass(frozen=True, slots=True)
class Options:
    """What the gateway needs to know of a request.

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


def read_options(document: Document, endpoint: Endpoint, limits: Limits) -> Options:
    """Check the fields that the gateway knows, and ask for the usage of a stream.

    Args:
        document: on streams, ``stream_options.include_usage`` is set in what goes on.

    Raises:
        MissingField, InvalidRequest: naming the field.
    """
    body = document.value
    _require(body, "model")
    _check_prompt(body, endpoint)
    model = body["model"]
    if not isinstance(model, str) or len(document.string(model)) > LONGEST_NAME:
        raise InvalidRequest(f"`model` must be a string of at most {LONGEST_NAME} characters.", param="model")
    sequences = endpoint.width(body, limits)
    check_members(endpoint.rules, body)
    by_part = bool(_BY_PART in endpoint.fields and body.get(_BY_PART))
    if _BY_PART in body:
        document.remove((_BY_PART,))  # the server's own
    wanted = body.get("stream_options")
    if not endpoint.streams:
        if (asked := body.get("stream")) is not None and asked is not False:
            raise InvalidRequest(f"{endpoint.path} has no streams: leave `stream` out.", param="stream")
        return Options(model, False, sequences, False)
    if not endpoint.asks_usage:
        return Options(model, bool(body.get("stream")), sequences, False)
    if not body.get("stream"):
        if wanted:
            raise InvalidRequest("`stream_options` are for streams: send `stream: true` too.", param="stream_options")
        return Options(model, False, sequences, False, by_part)
    wanted = wanted or {}
    hide = not wanted.get("include_usage")
    passed = {**wanted, "include_usage": True}
    if hide and "continuous_usage_stats" in wanted:
        # It counts with `include_usage` alone, and the client did not ask for that.
        passed["continuous_usage_stats"] = False
    if passed != wanted:
        document.set(("stream_options",), passed)
    return Options(model, True, sequences, hide, by_part)


def _check_prompt(body: Mapping[str, Any], endpoint: Endpoint) -> None:
    groups = endpoint.prompts
    given = next((names for names in groups if all(body.get(name) is not None for name in names)), None)
    if given is None:
        # The one of which the client has sent most.
        meant = max(groups, key=lambda names: sum(body.get(name) is not None for name in names))
        missing = next(name for name in meant if body.get(name) is None)
        if len(groups) == 1 or body.get(meant[0]) is not None:
            raise _missing(missing)
        known = " or ".join(" with ".join(f"`{name}`" for name in names) for names in groups)
        raise MissingField(f"A request to {endpoint.path} must have {known}.", param=missing)
    if not endpoint.empty:
        for name in given:
            _require(body, name)
    for name in endpoint.prompt_fields:
        if name not in given and body.get(name) is not None:
            raise InvalidRequest(f"`{name}` cannot be sent together with `{given[0]}`.", param=name)


def _require(body: Mapping[str, Any], name: str) -> None:
    if body.get(name) in (None, "", []):
        raise _missing(name)


def _missing(name: str) -> MissingField:
    return MissingField(f"The field `{name}` is required and must not be empty.", param=name)
