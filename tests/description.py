"""The published description of the API, as tools of others read it."""

from __future__ import annotations

from typing import Any

import jsonschema
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tessera.gateway.app import create_app
from tessera.gateway.endpoints import CHAT, COMPLETION, ENDPOINTS, RERANKING, SCORING
from tessera.settings import Settings

GENERATING = [CHAT.path, COMPLETION.path]
# Those that answer alike by several names, once.
PATHS = [endpoint.path for endpoint in ENDPOINTS if endpoint not in (*RERANKING[1:], *SCORING[1:])]

_API = create_app(Settings()).openapi()
_OPERATIONS = schemathesis.openapi.from_dict(_API)
_FORMATS = jsonschema.FormatChecker()
_FORMATS.checks("int64")(lambda value: not isinstance(value, int | float) or -(2**63) <= value < 2**63)


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """What decides whether the schema allows a value."""
    # References are to components of the whole.
    schema = {**schema, "components": _API["components"]}
    return jsonschema.Draft202012Validator(schema, format_checker=_FORMATS)


BODIES = {
    path: validator(_API["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])
    for path in PATHS
}

_PROMPTS = {endpoint.path: endpoint.prompt_fields for endpoint in ENDPOINTS}


def allowed(path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that the description allows."""
    return _bodies(path, GenerationMode.POSITIVE)


def forbidden(path: str) -> st.SearchStrategy[Any]:
    """Bodies that it forbids; bytes are no JSON at all."""
    # What is wrong with a request may be in its headers, too.
    return _bodies(path, GenerationMode.NEGATIVE).filter(lambda body: not BODIES[path].is_valid(body))


def _bodies(path: str, mode: GenerationMode) -> st.SearchStrategy[Any]:
    cases: st.SearchStrategy[schemathesis.Case] = _OPERATIONS[path]["POST"].as_strategy(generation_mode=mode)
    return cases.map(lambda case: case.body)


def wrong_fields(path: str, body: dict[str, Any]) -> set[str]:
    """Fields that the description finds wrong, or misses."""
    found = set()
    for error in BODIES[path].iter_errors(body):
        if error.absolute_path:
            found.add(str(error.absolute_path[0]))
        elif error.validator == "required":
            found |= set(error.validator_value) - body.keys()
        else:  # the one that says what goes with what
            found |= {"stream_options"} if path in GENERATING else {*_PROMPTS[path]}
    return found
