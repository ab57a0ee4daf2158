"""Endpoints that only ask a model's tokenizer."""

from __future__ import annotations

from tessera.gateway.body import Endpoint
from tessera.gateway.body.width import nothing
from tessera.gateway.endpoints.schemas import MEDIA_OPTIONS
from tessera.gateway.message_schema import MESSAGES

_FLAG = {"type": "boolean"}

TOKENIZATION = Endpoint(
    path="/tokenize",
    about="The tokens of a text, or of a conversation with media as the model gets it.",
    tasks=("tokenize",),
    prompts=(("prompt",), ("messages",)),
    width=nothing,
    fields={
        "prompt": {"type": ["string", "null"]},
        "add_special_tokens": _FLAG,
        "return_token_strs": {"type": ["boolean", "null"]},
    },
    described={"messages": {**MESSAGES, "type": ["array", "null"]}, **MEDIA_OPTIONS},
    example={"model": "tessera-nano", "prompt": "Once upon a time"},
    empty=True,
    conversation=("messages",),
)
DETOKENIZATION = Endpoint(
    path="/detokenize",
    about="The text of tokens.",
    tasks=("tokenize",),
    prompts=(("tokens",),),
    width=nothing,
    fields={"tokens": {"type": "array", "items": {"type": "integer", "format": "int64", "minimum": 0}}},
    example={"model": "tessera-nano", "tokens": [1, 2, 3]},
    empty=True,
)
