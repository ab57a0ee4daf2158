"""Puts the answers into the description."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

_JSON, _STREAM = "application/json", "text/event-stream"


def load_examples() -> dict[str, dict[str, Any]]:
    """By method and path, as in ``GET /v1/models``: ``document``, and the events of a ``stream``."""
    found: dict[str, dict[str, Any]] = {}
    for file in files("tessera.gateway.examples").iterdir():
        if file.name.endswith(".json"):
            found |= orjson.loads(file.read_bytes())
    return found


def give_examples(api: dict[str, Any]) -> None:
    """Put into the description of the API what its answers look like."""
    examples = load_examples()
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            example = examples.get(f"{method.upper()} {path}", {})
            content = operation["responses"].get("200", {}).get("content", {})
            if _JSON in content and "document" in example:
                content[_JSON]["example"] = example["document"]
            if _STREAM in content and "stream" in example:
                content[_STREAM]["example"] = "".join(f"{event}\n\n" for event in example["stream"])
