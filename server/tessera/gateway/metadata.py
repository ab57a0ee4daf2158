"""``metadata``: what clients write on what they make, for themselves."""

from __future__ import annotations

from typing import Any

from tessera.errors import InvalidRequest

METADATA: dict[str, Any] = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
# OpenAI's limits.
_MOST_PAIRS, _LONGEST_NAME, _LONGEST_VALUE = 16, 64, 512


def read_metadata(given: Any) -> dict[str, str] | None:
    """Check it. Raises ``InvalidRequest``."""
    if given is None:
        return None
    pairs = given.items() if isinstance(given, dict) and len(given) <= _MOST_PAIRS else None
    if pairs is None or not all(
        isinstance(value, str) and len(name) <= _LONGEST_NAME and len(value) <= _LONGEST_VALUE for name, value in pairs
    ):
        raise InvalidRequest(
            f"`metadata` must be an object of at most {_MOST_PAIRS} strings, with names of up to {_LONGEST_NAME} "
            f"characters and values of up to {_LONGEST_VALUE}.",
            param="metadata",
        )
    return dict(pairs)
