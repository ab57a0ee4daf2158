"""OpenAPI descriptions of the bodies that pass through to vLLM; only what the gateway checks is strict."""

from __future__ import annotations

from typing import Any

from tessera.gateway.body import CHAT, COMPLETION, LONGEST_NAME, Endpoint
from tessera.gateway.media_options import MOST_FPS
from tessera.gateway.message_schema import MESSAGES
from tessera.media import MOST_FRAMES

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
# Nothing else may be set, unless to null.
_CLOSED = {"additionalProperties": {"type": "null"}}
_RATE = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": MOST_FPS}
_SAMPLING = {
    "fps": {**_RATE, "description": "Frames for each second of a video; not with `num_frames` for all models."},
    "num_frames": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_FRAMES},
}
_PIXELS = {"type": ["integer", "null"], "minimum": 1, "description": "At most the model's own; not for all models."}
_MEDIA_OPTIONS = {
    "media_io_kwargs": {
        "type": ["object", "null"],
        "properties": {"video": {"type": ["object", "null"], "properties": _SAMPLING, **_CLOSED}},
        **_CLOSED,
        "description": "How videos are sampled. Where vLLM trusts requests, anything.",
    },
    "mm_processor_kwargs": {
        "type": ["object", "null"],
        "properties": {
            **_SAMPLING,
            "use_audio_in_video": {"type": ["boolean", "null"]},
            "min_pixels": _PIXELS,
            "max_pixels": _PIXELS,
        },
        **_CLOSED,
        "description": "How the model's processor prepares media. Where vLLM trusts requests, anything.",
    },
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


def _operation(endpoint: Endpoint, prompt: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "required": ["model", endpoint.prompt],
        "properties": {"model": _MODEL, **prompt, **endpoint.fields},
        "anyOf": _OPTIONS_OF_STREAMS,
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
    CHAT,
    {"messages": MESSAGES, **_MEDIA_OPTIONS},
    {"model": "tessera-nano", "messages": [{"role": "user", "content": _PARTS}], "max_tokens": 32},
)
completions = _operation(
    COMPLETION,
    {},
    {"model": "tessera-nano", "prompt": "Once upon a time", "max_tokens": 32},
)


def _body_of(operation: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = operation["openapi_extra"]["requestBody"]["content"]["application/json"]
    return content


estimate = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_body_of(chat_completions)["schema"], _body_of(completions)["schema"]]},
                "example": _body_of(chat_completions)["example"],
            }
        },
    }
}
