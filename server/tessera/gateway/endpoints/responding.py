"""OpenAI's responses and Anthropic's messages: conversations in other words."""

from __future__ import annotations

from typing import Any

from tessera.gateway import message_blocks, response_input
from tessera.gateway.body import Endpoint
from tessera.gateway.body.width import nothing
from tessera.gateway.endpoints.schemas import BUDGET, MEDIA_OPTIONS, OBJECTS
from tessera.gateway.message_blocks import BLOCKS, read_messages
from tessera.gateway.message_blocks import ROLES as ROLES_OF_MESSAGES
from tessera.gateway.message_schema import DETAIL, PART_OF_INPUT, TOKENS_OF_PART
from tessera.gateway.response_input import ITEMS, MESSAGE, OUTPUTS, ROLES, read_input
from tessera.gateway.response_wishes import TOOLS
from tessera.gateway.visual_budget import MOST_TOKENS

_STRING = {"type": "string", "minLength": 1}
_FLAG = {"type": ["boolean", "null"]}
_PENALTY = {"type": ["number", "null"], "minimum": -2, "maximum": 2}
_COUNT = {"type": ["integer", "null"], "minimum": 1}
_TEMPERATURE = {"type": ["number", "null"], "minimum": 0, "maximum": 2}
_TOP_P = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1}
_STREAM = {**_FLAG, "default": False, "description": "Answer as server-sent events."}
_NULL = {"type": "null"}


def _objects(types: tuple[str, ...]) -> dict[str, Any]:
    """Objects that say that they are of one of these types."""
    return {"type": "object", "required": ["type"], "properties": {"type": {"enum": [*types]}}}


_PARTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": PART_OF_INPUT}]}
_ITEMS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"type": {"enum": [MESSAGE, None]}, "role": {"enum": [*ROLES]}, "content": _PARTS},
            },
            {
                "type": "object",
                "required": ["type", "output"],
                "properties": {"type": {"enum": [*OUTPUTS]}, "output": _PARTS},
            },
            _objects(tuple(kind for kind in ITEMS if kind not in (MESSAGE, *OUTPUTS))),
        ]
    },
}
_SOURCE = {
    "anyOf": [
        {
            "type": "object",
            "required": ["type", name],
            "properties": {"type": {"const": kind}, name: _STRING},
        }
        for kind, name in (("base64", "data"), ("url", "url"), ("file", "file_id"))
    ]
}
_TEXT_OF_DOCUMENT = {
    "type": "object",
    "required": ["type", "data"],
    "properties": {"type": {"const": "text"}, "data": _STRING},
    "description": "Also `content` with texts, and texts in `base64`.",
}
_PDF = {**_SOURCE, "description": "A PDF, each of whose pages is an image, or a text."}
_IMAGE = {
    "type": "object",
    "required": ["type", "source"],
    "properties": {"type": {"const": "image"}, "source": _SOURCE, "detail": DETAIL, MOST_TOKENS: TOKENS_OF_PART},
}
_DOCUMENT = {
    "type": "object",
    "required": ["type", "source"],
    "properties": {
        "type": {"const": "document"},
        "source": {"anyOf": [_TEXT_OF_DOCUMENT, _PDF]},
        "title": {"type": ["string", "null"]},
        "context": {"type": ["string", "null"]},
        "detail": DETAIL,
        MOST_TOKENS: TOKENS_OF_PART,
    },
}
_PLAIN = _objects(tuple(kind for kind in BLOCKS if kind not in ("image", "document", "tool_result")))
_RESULT = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"const": "tool_result"},
        "content": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [_IMAGE, _DOCUMENT, _PLAIN]}}, _NULL]
        },
    },
}
_BLOCKS = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"anyOf": [_PLAIN, _IMAGE, _DOCUMENT, _RESULT]}},
    ]
}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": [*ROLES_OF_MESSAGES]}, "content": _BLOCKS},
    },
}
_SYSTEM = {"anyOf": [{"type": "string"}, OBJECTS, _NULL]}
_OF_MESSAGES: dict[str, Any] = {
    "messages": {**OBJECTS, "minItems": 1},
    "system": _SYSTEM,
    "visual_token_budget": BUDGET,
    "tools": {"anyOf": [OBJECTS, _NULL]},
}
_DATA = {"type": "image", "source": {"type": "url", "url": "https://example.com/square.png"}}
_ASKED = {
    "model": "tessera-nano",
    "messages": [{"role": "user", "content": [_DATA, {"type": "text", "text": "What?"}]}],
}

RESPONSES = Endpoint(
    path="/v1/responses",
    about="Answer an input, or go on from an earlier response, which the server keeps.",
    tasks=("generate",),
    prompts=(("input",),),
    width=nothing,
    fields={
        "input": {"anyOf": [_STRING, {**OBJECTS, "minItems": 1}]},
        "instructions": {"type": ["string", "null"]},
        "max_output_tokens": _COUNT,
        "temperature": _TEMPERATURE,
        "top_p": _TOP_P,
        "frequency_penalty": _PENALTY,
        "presence_penalty": _PENALTY,
        "seed": {"type": ["integer", "null"], "format": "int64"},
        "stream": _STREAM,
        "store": {**_FLAG, "default": True, "description": "Keep the response for `TESSERA_RESPONSES_TTL_S`."},
        "background": {**_FLAG, "default": False, "description": "Answer at once, and go on without a client."},
        "previous_response_id": {"type": ["string", "null"], "description": "Of the response to go on from."},
        "visual_token_budget": BUDGET,
        "conversation": {
            "anyOf": [_STRING, {"type": "object", "required": ["id"], "properties": {"id": _STRING}}, _NULL],
            "description": "Id of the conversation to go on from; input and answer are added to it.",
        },
        "prompt": _NULL,
        "context_management": _NULL,
    },
    described={
        "input": {"anyOf": [_STRING, _ITEMS]},
        "tools": {"anyOf": [{"type": "array", "items": _objects(TOOLS)}, _NULL]},
        **MEDIA_OPTIONS,
    },
    example={"model": "tessera-nano", "input": "Say hello.", "max_output_tokens": 32},
    answers="resp_",
    streams=True,
    counted=True,
    asks_usage=False,
    read=read_input,
    translate=response_input.as_chat,
)
MESSAGES = Endpoint(
    path="/v1/messages",
    about="Answer messages, as Anthropic's API does.",
    tasks=("generate",),
    prompts=(("messages", "max_tokens"),),
    width=nothing,
    fields=_OF_MESSAGES
    | {
        "max_tokens": {**_COUNT, "type": "integer"},
        "temperature": _TEMPERATURE,
        "top_p": _TOP_P,
        "top_k": {"type": ["integer", "null"], "minimum": -1},
        "stop_sequences": {"anyOf": [{"type": "array", "items": _STRING}, _NULL]},
        "stream": _STREAM,
    },
    described={"messages": _MESSAGES},
    example={**_ASKED, "max_tokens": 32},
    answers="chatcmpl-",
    streams=True,
    counted=True,
    asks_usage=False,
    read=read_messages,
    translate=message_blocks.as_chat,
    processed=False,
)
COUNTING = Endpoint(
    path="/v1/messages/count_tokens",
    about="How many tokens messages are to the model, media included.",
    tasks=("generate",),
    prompts=(("messages",),),
    width=nothing,
    fields=_OF_MESSAGES,
    described={"messages": _MESSAGES},
    example=_ASKED,
    read=read_messages,
    processed=False,
)
