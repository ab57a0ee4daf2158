"""A response as OpenAI's API shows it, where no engine has written one: before it began, and when it failed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tessera.errors import TesseraError
from tessera.responses import StoredResponse

# What a response says of its request, and what where that said nothing; vLLM has the last word once it begins.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": None,
    "service_tier": "auto",
    "temperature": None,
    "text": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_ID_DIGITS = 32
_PREFIXES = {"message": "msg_", "function_call": "fc_", "custom_tool_call": "ctc_", "reasoning": "rs_"}


def shape_of(body: Mapping[str, Any], response_id: str, echo: Mapping[str, Any]) -> dict[str, Any]:
    """A response of which nothing is there yet.

    Args:
        body: the request's.
        echo: members that are known already.
    """
    said = {name: usual if body.get(name) is None else body[name] for name, usual in _ECHOED.items()}
    begun = {"id": response_id, "object": "response", "model": body["model"], "status": "queued"}
    return {**begun, "output": [], "error": None, "incomplete_details": None, "usage": None, **said, **echo}


def now_s() -> int:
    """Unix time, as responses have it."""
    return int(time.time())


def failed(response: StoredResponse, error: TesseraError) -> dict[str, Any]:
    """A response that came to nothing; codes are OpenAI's."""
    code = "server_error" if error.status >= 500 else "invalid_prompt"
    code = "rate_limit_exceeded" if error.status == 429 else code
    return {**orjson.loads(response.shape), "status": "failed", "error": {"code": code, "message": error.message}}


def standing(response: StoredResponse, status: str) -> dict[str, Any]:
    """A response that has not ended, or was cancelled."""
    return {**orjson.loads(response.shape), "status": status}


def items_of(response: StoredResponse) -> list[dict[str, Any]]:
    """What the client sent for it, each item with an id."""
    items = orjson.loads(response.input)
    return [{"id": _id_of(response, i, item), "type": "message", **item} for i, item in enumerate(items)]


def as_input(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What came of a response, as the input of the next: without what the model only thought, as in vLLM."""
    known = (item for item in items if item.get("type") != "reasoning")
    return [{name: value for name, value in item.items() if value is not None} for item in known]


def prefix_of(item: Mapping[str, Any]) -> str:
    """What the ids of such items begin with."""
    return _PREFIXES.get(item.get("type") or "message", "item_")


def _id_of(response: StoredResponse, index: int, item: Mapping[str, Any]) -> str:
    return prefix_of(item) + hashlib.sha256(f"{response.id}:{index}".encode()).hexdigest()[:_ID_DIGITS]
