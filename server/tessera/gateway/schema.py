"""OpenAPI descriptions of the bodies that pass through to vLLM; only what the gateway checks is strict."""

from __future__ import annotations

from typing import Any

_ERROR = {
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


def described(description: str) -> dict[str, Any]:
    """A response with an error."""
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: described("A field is missing or wrong; `param` names it."),
    404: described("No such model."),
    413: described("The body is too large."),
    415: described("The body is not sent as JSON, or compressed in another way than with gzip or deflate."),
    422: described("Another request was sent with this `Idempotency-Key`."),
    429: described("Too many requests are waiting; `Retry-After` says when to come back."),
    500: described("The server failed on this request."),
    503: described("No worker, or no queue, at the moment; `Retry-After` says when to come back."),
}


def _media(name: str, what: str) -> dict[str, Any]:
    url = {"type": "string", "description": f"{what}, as a data URL or an http(s) URL."}
    value = {"type": "object", "required": ["url"], "properties": {"url": url}}
    kind = {"type": "string", "const": name}
    return {"type": "object", "required": ["type", name], "properties": {"type": kind, name: value}}


_PART = {
    "oneOf": [
        {
            "type": "object",
            "required": ["type", "text"],
            "properties": {"type": {"type": "string", "const": "text"}, "text": {"type": "string"}},
        },
        _media("image_url", "PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF image"),
        _media("video_url", "MP4, WebM, MKV, MOV or AVI video"),
        _media("audio_url", "WAV, MP3, FLAC, OGG or M4A sound"),
        {
            "type": "object",
            "required": ["type", "input_audio"],
            "properties": {
                "type": {"type": "string", "const": "input_audio"},
                "input_audio": {
                    "type": "object",
                    "required": ["data", "format"],
                    "properties": {
                        "data": {"type": "string", "description": "Sound in base64."},
                        "format": {"type": "string", "examples": ["wav", "mp3"]},
                    },
                },
            },
        },
    ]
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]},
    },
    "additionalProperties": True,
}
_MODEL = {"type": "string", "description": "A name that `GET /v1/models` lists."}
_OPTIONS = {
    "max_tokens": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "n": {"type": "integer", "minimum": 1},
    "seed": {"type": "integer"},
    "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    "stream": {"type": "boolean", "default": False, "description": "Answer as server-sent events."},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
}


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


def _operation(prompt: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["model", *prompt],
        "properties": {"model": _MODEL, **prompt, **_OPTIONS},
        "additionalProperties": True,
    }
    content = {"application/json": {"schema": body, "example": example}}
    answer = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    return {
        "responses": {
            200: {"description": "The answer, as vLLM gives it.", "content": answer, "headers": _ANSWER_HEADERS},
            **ERRORS,
        },
        "openapi_extra": {"parameters": _DIRECTIVES, "requestBody": {"required": True, "content": content}},
    }


_PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/square.png"}},
]
chat_completions = _operation(
    {"messages": {"type": "array", "minItems": 1, "items": _MESSAGE}},
    {"model": "tessera-nano", "messages": [{"role": "user", "content": _PARTS}], "max_tokens": 32},
)
completions = _operation(
    {"prompt": {"anyOf": [{"type": "string"}, {"type": "array"}]}},
    {"model": "tessera-nano", "prompt": "Once upon a time", "max_tokens": 32},
)
