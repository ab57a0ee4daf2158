"""What several parts of the OpenAPI description have in common, said once."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

_OF_COMPONENTS = "#/components/schemas/"


def share_components(api: dict[str, Any], components: Mapping[str, Any]) -> None:
    """Put each of these schemas into the description once, and references to it wherever it stands.

    Args:
        components: the larger ones first, where one is a part of another.
    """
    shared = api.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in components.items():
        _refer(api, schema, {"$ref": _OF_COMPONENTS + name})
        shared[name] = deepcopy(schema)


def _refer(node: Any, schema: Any, reference: Mapping[str, str]) -> None:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if value == schema:
            node[key] = dict(reference)
        elif isinstance(value, dict | list):
            _refer(value, schema, reference)
