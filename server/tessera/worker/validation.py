"""Fields that do not fit vLLM's request models: one sentence about one field, out of pydantic's list of errors.

A field that takes one of several types is tried as each of them, and pydantic tells what was wrong every time: a
message with a number for its content comes to 22 errors, most of them about roles that it does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from tessera.errors import InvalidRequest, MissingField

MOST_ERRORS = 200
MOST_ALTERNATIVES = 8
# Characters of one name in a path: keys of maps are the client's own.
LONGEST_NAME = 64

# What is said where another type was meant: its tag differs, its fields are missing. Anything else weighs more.
_OF_ANOTHER_TYPE = {"literal_error", "missing"}
_WEIGHT = 3
_EXPECTED = "Input should be "
_IN_JSON = (("dictionary or object to extract fields from", "object"), ("dictionary", "object"))


async def answer(request: Request, error: Exception) -> JSONResponse:
    """For vLLM's application: the answer to a request that does not fit, noticed at once or as its parts are read."""
    assert isinstance(error, RequestValidationError | ValidationError)
    body = error.body if isinstance(error, RequestValidationError) else None
    explained = explain(error.errors(), body)
    return JSONResponse(explained.body(), explained.status)


def explain(errors: Sequence[Any], body: Any = None) -> InvalidRequest:
    """The error to answer with.

    Args:
        errors: as pydantic and FastAPI list them, at least one.
        body: the request, by which names of fields are told from pydantic's names for the types that it tried.
    """
    listed = [error for error in errors[:MOST_ERRORS] if isinstance(error, Mapping)]
    if not listed:
        return InvalidRequest(f"{errors[0]}.")
    paths = [_path(error, body) for error in listed]
    # Where several fields are wrong, the first one is told.
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for path, error in zip(paths, listed, strict=True):
        if path[:1] == paths[0][:1]:
            found[_written(path)].append(error)
    param = max(found, key=lambda path: sum(map(_weight, found[path])))
    about = found[param]
    if all(error["type"] == "missing" for error in about):
        return MissingField(f"`{param or about[0]['loc'][-1]}` is required.", param=param or None)
    subject = f"`{param}`" if param else "The request" if len(about[0]["loc"]) < 2 else "A part of the request"
    return InvalidRequest(f"{subject} {_wrong(about)}.", param=param or None)


def _weight(error: Mapping[str, Any]) -> int:
    return 1 if error["type"] in _OF_ANOTHER_TYPE else _WEIGHT


def _path(error: Mapping[str, Any], body: Any) -> list[str | int]:
    location, path = list(error["loc"]), []
    if location[:1] == ["body"]:
        del location[0]
    missing = location.pop() if error["type"] == "missing" and location else None
    for step in location:
        known = step in body if isinstance(body, dict) else isinstance(body, list) and step in range(len(body))
        if known:
            body = body[step]
            path.append(step)
    if missing is not None and isinstance(body, dict):
        path.append(missing)
    return path


def _written(path: Sequence[str | int]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:LONGEST_NAME]}" for step in path)
    return "".join(steps).removeprefix(".")


def _wrong(errors: Sequence[Mapping[str, Any]]) -> str:
    messages = [error["msg"].partition(", unable to ")[0] for error in errors]
    for pythons, ours in _IN_JSON:
        messages = [message.replace(pythons, ours) for message in messages]
    expected = dict.fromkeys(m.removeprefix(_EXPECTED) for m in messages if m.startswith(_EXPECTED))
    if not expected:
        return f"is not valid: {messages[0].rstrip('.')}"
    return f"should be {' or '.join(list(expected)[:MOST_ALTERNATIVES])}"
