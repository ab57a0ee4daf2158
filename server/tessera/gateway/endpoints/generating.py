"""Endpoints that generate text.

The bounds are vLLM's. Options that are not here pass through, and vLLM says what it thinks of them.
"""

from __future__ import annotations

from typing import Any

from tessera.gateway.body import Endpoint
from tessera.gateway.body.width import answers, completions, conversations
from tessera.gateway.endpoints.schemas import MEDIA_OPTIONS, OBJECTS, TOKENS
from tessera.gateway.message_schema import MESSAGES

_STRING = {"type": "string", "minLength": 1}
_FLAG = {"type": ["boolean", "null"]}
_PENALTY = {"type": ["number", "null"], "minimum": -2, "maximum": 2}
_COUNT = {"type": ["integer", "null"], "minimum": 1}

_SAMPLING: dict[str, Any] = {
    "max_tokens": _COUNT,
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "frequency_penalty": _PENALTY,
    "presence_penalty": _PENALTY,
    "n": {"type": ["integer", "null"], "minimum": 1, "description": "At most `TESSERA_MAX_SEQUENCES`, 128 by default."},
    "seed": {"type": ["integer", "null"], "format": "int64"},
    "stop": {
        "anyOf": [_STRING, {"type": "array", "items": _STRING}, {"type": "null"}],
        "description": "vLLM takes up to 4, or `VLLM_MAX_STOP_STRINGS`.",
    },
}
_BUDGET = {
    **_COUNT,
    "description": "Most tokens of all images and videos together, which are made smaller for it.",
}
_BY_PART = {**_FLAG, "description": "`usage.prompt_tokens_details.parts` says how many tokens each part was."}
_OF_CHATS = {"max_completion_tokens": _COUNT, "visual_token_budget": _BUDGET, "usage_by_part": _BY_PART}
_STREAM = {
    "stream": {**_FLAG, "default": False, "description": "Answer as server-sent events."},
    "stream_options": {
        "type": ["object", "null"],
        "properties": {"include_usage": _FLAG, "continuous_usage_stats": _FLAG},
        "description": "Only with `stream`.",
    },
}
_PROMPT = {
    "anyOf": [
        _STRING,
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {**TOKENS, "minItems": 1},
        {"type": "array", "items": TOKENS, "minItems": 1},
    ],
    "description": "A text, several, or the tokens of one or several.",
}
_PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/square.png"}},
]

CHAT = Endpoint(
    path="/v1/chat/completions",
    about="Answer a conversation, whose messages may mix text, images, videos and audio.",
    tasks=("generate",),
    prompts=(("messages",),),
    width=answers,
    fields=_SAMPLING | _STREAM | _OF_CHATS,
    described={"messages": MESSAGES, **MEDIA_OPTIONS},
    example={"model": "tessera-nano", "messages": [{"role": "user", "content": _PARTS}], "max_tokens": 32},
    answers="chatcmpl-",
    streams=True,
    counted=True,
    conversation=("messages",),
)
# vLLM takes no null for `n` here, and no tokens at all to have a prompt echoed.
COMPLETION = Endpoint(
    path="/v1/completions",
    about="Continue a text.",
    tasks=("generate",),
    prompts=(("prompt",),),
    width=completions,
    fields=_SAMPLING
    | _STREAM
    | {
        "prompt": _PROMPT,
        "n": {**_SAMPLING["n"], "type": "integer"},
        "max_tokens": {"type": ["integer", "null"], "minimum": 0, "description": "0 only with `echo`."},
    },
    example={"model": "tessera-nano", "prompt": "Once upon a time", "max_tokens": 32},
    answers="cmpl-",
    streams=True,
    counted=True,
    # vLLM passes over them; what they hold is treated as ever.
    conversation=("messages",),
)
CHAT_BATCH = Endpoint(
    path="/v1/chat/completions/batch",
    about="Answer several conversations at once: one choice for each of them, in their order.",
    tasks=("chat_batch",),
    prompts=(("messages",),),
    width=conversations,
    fields={name: schema for name, schema in _SAMPLING.items() if name != "n"}
    | {
        "messages": {"type": "array", "minItems": 1, "items": {**OBJECTS, "minItems": 1}},
        "max_completion_tokens": _COUNT,
    },
    described={"messages": {"type": "array", "minItems": 1, "items": MESSAGES}, **MEDIA_OPTIONS},
    example={
        "model": "tessera-nano",
        "messages": [[{"role": "user", "content": "Hello"}], [{"role": "user", "content": "Good evening"}]],
        "max_tokens": 32,
    },
    answers="chatcmpl-",
    conversations=("messages",),
)
