"""The options of a generation request that the gateway checks, in JSON Schema: what is published is what is checked.

The bounds are vLLM's. Options that are not here pass through, and vLLM says what it thinks of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tessera.gateway.body.check import Rule, Schema, rules_of

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
    "stream": {**_FLAG, "default": False, "description": "Answer as server-sent events."},
    "stream_options": {
        "type": ["object", "null"],
        "properties": {"include_usage": _FLAG, "continuous_usage_stats": _FLAG},
        "description": "Only with `stream`.",
    },
}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_PROMPT = {
    "anyOf": [
        _STRING,
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {**_TOKENS, "minItems": 1},
        {"type": "array", "items": _TOKENS, "minItems": 1},
    ],
    "description": "A text, several, or the tokens of one or several.",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What requests to it hold.

    Attributes:
        prompt: the field that carries the prompt.
        fields: their schemas, of those that are checked here.
        rules: the same, compiled.
    """

    prompt: str
    fields: Mapping[str, Schema]
    rules: Mapping[str, Rule] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", rules_of(self.fields))


_BUDGET = {
    **_COUNT,
    "description": "Most tokens of all images and videos together, which are made smaller for it.",
}
_BY_PART = {**_FLAG, "description": "`usage.prompt_tokens_details.parts` says how many tokens each part was."}
_OF_CHATS = {"max_completion_tokens": _COUNT, "visual_token_budget": _BUDGET, "usage_by_part": _BY_PART}
CHAT = Endpoint("messages", _SAMPLING | _OF_CHATS)
# vLLM takes no null for `n` here, and no tokens at all to have a prompt echoed.
COMPLETION = Endpoint(
    "prompt",
    _SAMPLING
    | {
        "prompt": _PROMPT,
        "n": {**_SAMPLING["n"], "type": "integer"},
        "max_tokens": {"type": ["integer", "null"], "minimum": 0, "description": "0 only with `echo`."},
    },
)
