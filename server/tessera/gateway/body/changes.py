"""What is to be changed in a JSON text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tessera.gateway.body.path import Path

Change = bytes | None | Mapping[str | int, "Change"]
"""What a value is replaced by; None: it is taken out. Or what is to be changed within it."""


def nested(changes: Mapping[Path, bytes | None]) -> Mapping[str | int, Change]:
    """Changes by the paths of their values, as changes of the members of the top."""
    tree: dict[str | int, Change] = {}
    for path, new in changes.items():
        node = tree
        for step in path[:-1]:
            node = node.setdefault(step, {})  # type: ignore[assignment]
        node[path[-1]] = new
    return tree


def write(value: dict[str, Any], changes: Mapping[str | int, Change]) -> bytes:
    """A JSON object with some of it changed, as ``spans.splice`` would change the text that orjson writes of it."""
    return orjson.dumps(_changed(value, changes))


def _changed(value: Any, changes: Mapping[str | int, Change]) -> Any:
    if isinstance(value, list):
        return [_new(each, changes[i]) if i in changes else each for i, each in enumerate(value)]
    added = {name: _new(None, new) for name, new in changes.items() if isinstance(new, bytes) and name not in value}
    kept = {name: each for name, each in value.items() if changes.get(name, b"") is not None}
    return added | {name: _new(each, changes[name]) if name in changes else each for name, each in kept.items()}


def _new(value: Any, change: Change) -> Any:
    # An element of an array is never taken out.
    return _changed(value, change) if isinstance(change, Mapping) else orjson.Fragment(change or b"")
