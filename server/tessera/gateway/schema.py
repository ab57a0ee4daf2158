"""OpenAPI descriptions of the bodies that pass through to vLLM; only what the gateway checks is strict."""

from __future__ import annotations

from typing import Any

from tessera.gateway.body import LONGEST_NAME, Endpoint
from tessera.gateway.dialect import ANTHROPIC, dialect_of
from tessera.gateway.endpoints import CHAT, COMPLETION, MESSAGES, RESPONSES

ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong and what to do."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field, as `messages[0].content[2]`."},
                "code": {"type": ["string", "integer", "null"], "description": "vLLM's own errors have its status."},
            },
        }
    },
}


_SAID = ERROR["properties"]["error"]["properties"]
ANTHROPIC_ERROR = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {**_SAID, "type": {"type": "string", "examples": ["invalid_request_error"]}},
        },
    },
}


def describe_dialects(api: dict[str, Any]) -> None:
    """Put into the description of the API where errors have Anthropic's form."""
    for path, operations in api["paths"].items():
        if dialect_of(path) is ANTHROPIC:
            for status, response in operations["post"]["responses"].items():
                if not status.startswith("2"):
                    response["content"] = {"application/json": {"schema": ANTHROPIC_ERROR}}


def leave_out_unused_refusals(api: dict[str, Any]) -> None:
    """Take out of the description what FastAPI puts into it of each path with a variable.

    It refuses nothing by itself: all parameters are strings, which handlers check.
    """
    schemas = api["components"]["schemas"]
    for operations in api["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def described(description: str) -> dict[str, Any]:
    """A response with an error."""
    return {"description": description, "content": {"application/json": {"schema": ERROR}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: described("A field is missing or wrong; `param` names it."),
    404: described("No such model."),
    413: described("The body is too large."),
    415: described("The body is not sent as JSON, or compressed in another way than with gzip, deflate or zstd."),
    422: described("Another request was sent with this `Idempotency-Key`."),
    429: described("Too many requests are waiting; `Retry-After` says when to come back."),
    500: described("The server failed on this request."),
    503: described("No worker, or no queue, at the moment; `Retry-After` says when to come back."),
}
# Of what takes forms.
FORM_ERRORS: dict[int | str, dict[str, Any]] = {
    403: described("A web page sends it that may not."),
    415: described("The body is no form."),
}
_MODEL = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_NAME,
    "description": "A name that `GET /v1/models` lists.",
}
# Either of them: options of a stream go with one.
_OPTIONS_OF_STREAMS = [
    {"properties": {"stream": {"const": True}}, "required": ["stream"]},
    {"properties": {"stream_options": {"anyOf": [{"type": "null"}, {"type": "object", "maxProperties": 0}]}}},
]
_NULL = {"type": "null"}
_GIVEN = {"not": _NULL}
_DIRECTIVES = [
    {
        "name": "X-Tessera-On-Disconnect",
        "in": "header",
        "description": "What becomes of the request when its client goes away.",
        "schema": {"type": "string", "enum": ["cancel", "continue"], "default": "cancel"},
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The request is run once, however often it is sent with this key; it implies `continue`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
]
_ANSWER_HEADERS = {
    "X-Tessera-Request-Id": {
        "description": "The id by which the request can be asked for, picked up and cancelled.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` where this is the answer to a request of the same key that was sent before.",
        "schema": {"type": "string"},
    },
}


def body_schema(endpoint: Endpoint) -> dict[str, Any]:
    """What a body may be that is sent to it."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["model", *(endpoint.prompts[0] if len(endpoint.prompts) == 1 else ())],
        "properties": {"model": _MODEL, **endpoint.fields, **endpoint.described},
        "additionalProperties": True,
    }
    if endpoint.streams:
        return {**schema, "anyOf": _OPTIONS_OF_STREAMS} if endpoint.asks_usage else schema
    schema["properties"]["stream"] = {"enum": [False, None], "description": "It has no streams."}
    if len(endpoint.prompts) > 1:
        # One of the groups, and nothing of the others.
        schema["anyOf"] = [
            {
                "required": [*names],
                "properties": {name: _GIVEN if name in names else _NULL for name in endpoint.prompt_fields},
            }
            for names in endpoint.prompts
        ]
    return schema


def form_schema(endpoint: Endpoint) -> dict[str, Any]:
    """What a form may be that is sent to it."""
    members: dict[str, Any] = {"file": {"type": "string", "format": "binary"}, "model": _MODEL}
    for name, schema in endpoint.fields.items():
        of_several = "array" in schema["type"]
        # A form has no null: what is not meant is left out.
        kinds = [kind for kind in (schema["type"] if isinstance(schema["type"], list) else ()) if kind != "null"]
        known = {**schema, "type": kinds[0]} if kinds else schema
        members.setdefault(f"{name}[]" if of_several else name, known)
    return {"type": "object", "required": ["model"], "properties": members}


def operation(endpoint: Endpoint) -> dict[str, Any]:
    """What FastAPI is to say of an endpoint."""
    content = {"application/json": {"schema": body_schema(endpoint), "example": endpoint.example}}
    answer = {"application/json": {"schema": {"type": "object"}}}
    if endpoint.form:
        content = {"multipart/form-data": {"schema": form_schema(endpoint), "example": endpoint.example}}
        answer["text/plain"] = {"schema": {"type": "string"}}
    if endpoint.streams:
        answer["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "responses": {
            200: {"description": "The answer, as vLLM gives it.", "content": answer, "headers": _ANSWER_HEADERS},
            **ERRORS,
            **(FORM_ERRORS if endpoint.form else {}),
        },
        "openapi_extra": {"parameters": _DIRECTIVES, "requestBody": {"required": True, "content": content}},
    }


estimate = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [body_schema(each) for each in (CHAT, COMPLETION, RESPONSES, MESSAGES)]},
                "example": CHAT.example,
            }
        },
    }
}
