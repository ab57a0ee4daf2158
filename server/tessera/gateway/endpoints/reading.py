"""Endpoints of models that read and do not write: embeddings, classes, scores."""

from __future__ import annotations

from typing import Any

from tessera.gateway.body import Endpoint
from tessera.gateway.body.width import inputs, longest
from tessera.gateway.cohere_inputs import read_inputs
from tessera.gateway.endpoints.schemas import MEDIA_OPTIONS, OBJECTS, TOKENS
from tessera.gateway.message_schema import CONTENT_OBJECT, INPUT_OF_COHERE, MESSAGES

_NULL = {"type": "null"}
_TEXTS: list[dict[str, Any]] = [
    {"type": "string", "minLength": 1},
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    {**TOKENS, "minItems": 1},
    {"type": "array", "items": TOKENS, "minItems": 1},
]
_SAID = "A text, several, or the tokens of one or several; at most `TESSERA_MAX_INPUTS`, 2,048 by default."
_INPUT = {"anyOf": [*_TEXTS, _NULL], "description": _SAID}
# As vLLM has it, conversations may stand in either field.
_INPUT_OR_MESSAGES = [*_TEXTS, {**OBJECTS, "minItems": 1}, {"type": "array", "items": OBJECTS, "minItems": 1}]
_SEVERAL = {"type": "array", "minItems": 1, "items": MESSAGES}
_MESSAGES = {**MESSAGES, "type": ["array", "null"]}
_COUNT = {"type": ["integer", "null"], "minimum": 1}
_READING: dict[str, Any] = {
    "truncate_prompt_tokens": {
        "type": ["integer", "null"],
        "minimum": -1,
        "description": "Longer texts are cut to so many tokens; -1: to what the model takes.",
    },
}
_FORMAT = {
    "type": "string",
    "enum": ["float", "base64", "bytes", "bytes_only"],
    "default": "float",
    "description": "`bytes`: numbers alone, as vLLM has them, with a header `metadata` that says which is which.",
}
_TEXT = {"type": "string", "minLength": 1}
_LIST: dict[str, Any] = {"type": ["array", "null"], "minItems": 1}
_ONE = [_TEXT, {"type": "object"}]
_SOME = [*_ONE, {"type": "array", "items": {"type": ["string", "object"]}, "minItems": 1}]
_DESCRIBED_ONE = [_TEXT, CONTENT_OBJECT]
_DESCRIBED_SOME = [
    *_DESCRIBED_ONE,
    {"type": "array", "items": {"anyOf": [{"type": "string"}, CONTENT_OBJECT]}, "minItems": 1},
]
_SIDE = "A text, or parts of messages as `content`; or several of these."
_PAIRS = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
_SIDES = tuple(dict.fromkeys(name for pair in _PAIRS for name in pair))

EMBEDDING = Endpoint(
    path="/v1/embeddings",
    about="Embed texts, or conversations with media: a vector for each.",
    tasks=("embed",),
    prompts=(("input",), ("messages",)),
    width=inputs,
    fields=_READING
    | {
        "input": {"anyOf": [*_INPUT_OR_MESSAGES, _NULL], "description": _SAID},
        "dimensions": {**_COUNT, "description": "Fewer than the model has, for those that were trained for it."},
        "encoding_format": _FORMAT,
    },
    described={
        "input": {"anyOf": [*_TEXTS, MESSAGES, _SEVERAL, _NULL], "description": _SAID},
        "messages": {"anyOf": [MESSAGES, _SEVERAL, _NULL]},
        **MEDIA_OPTIONS,
    },
    example={"model": "all-minilm-l6-v2", "input": ["A cat sleeps.", "It rains."]},
    answers="embd-",
    conversation=("input", "messages"),
    conversations=("input", "messages"),
)
COHERE_EMBEDDING = Endpoint(
    path="/v2/embed",
    about="Embed texts, images or mixtures of both, as Cohere's API has it: a vector for each.",
    tasks=("embed",),
    prompts=(("texts",), ("images",), ("inputs",)),
    width=longest("texts", "images", "inputs"),
    fields={
        "texts": {**_LIST, "items": {"type": "string"}},
        "images": {**_LIST, "items": _TEXT, "description": "Each as a data URL, or an http(s) URL."},
        "inputs": {**_LIST, "items": {"type": "object"}},
        "input_type": {
            "type": ["string", "null"],
            "description": "One of those that the model has instructions for; where it has none, null.",
        },
        "embedding_types": {**_LIST, "items": {"type": "string", "enum": ["float", "binary", "ubinary", "base64"]}},
        "output_dimension": {**_COUNT, "description": "Fewer than the model has, for those that were trained for it."},
        "truncate": {"type": "string", "enum": ["NONE", "START", "END"], "default": "END"},
        "max_tokens": {**_COUNT, "description": "Longer inputs are cut to so many tokens, where `truncate` says."},
    },
    described={"inputs": {**_LIST, "items": INPUT_OF_COHERE}},
    example={"model": "all-minilm-l6-v2", "texts": ["A cat sleeps.", "It rains."], "embedding_types": ["float"]},
    answers="embd-",
    processed=False,
    read=read_inputs,
    contents=("inputs",),
)
CLASSIFICATION = Endpoint(
    path="/classify",
    about="Say to which class each text, or a conversation with media, belongs.",
    tasks=("classify",),
    prompts=(("input",), ("messages",)),
    width=inputs,
    fields=_READING | {"input": _INPUT},
    described={"messages": _MESSAGES, **MEDIA_OPTIONS},
    example={"model": "classifier", "input": ["What a fine day!"]},
    answers="classify-",
    conversation=("messages",),
)
POOLING = Endpoint(
    path="/pooling",
    about="What a model's pooler makes of each text, or of a conversation with media, as numbers.",
    tasks=("embed", "classify", "token_embed", "token_classify"),
    prompts=(("input",), ("messages",)),
    width=inputs,
    fields=_READING | {"input": _INPUT, "dimensions": _COUNT, "encoding_format": _FORMAT, "data": _NULL},
    described={"messages": _MESSAGES, **MEDIA_OPTIONS},
    example={"model": "all-minilm-l6-v2", "input": "A cat sleeps."},
    answers="pooling-",
    conversation=("messages",),
)


def _rerank(path: str) -> Endpoint:
    return Endpoint(
        path=path,
        about="Order documents by how well they answer a query.",
        tasks=("score",),
        prompts=(("query", "documents"),),
        width=longest("documents"),
        fields=_READING
        | {"query": {"anyOf": _ONE}, "documents": {"anyOf": _SOME}, "top_n": {"type": "integer", "minimum": 0}},
        described={
            "query": {"anyOf": _DESCRIBED_ONE},
            "documents": {"anyOf": _DESCRIBED_SOME, "description": _SIDE},
        },
        example={"model": "reranker", "query": "What is red?", "documents": ["A tomato.", "The sea."]},
        answers="score-",
        contents=("query", "documents"),
    )


def _score(path: str) -> Endpoint:
    return Endpoint(
        path=path,
        about="Score how well each of two texts goes with the other: one with one, one with many, or pair by pair.",
        tasks=("score",),
        prompts=_PAIRS,
        width=longest(*_SIDES),
        fields=_READING | {name: {"anyOf": [*_SOME, _NULL]} for name in _SIDES},
        described={name: {"anyOf": [*_DESCRIBED_SOME, _NULL], "description": _SIDE} for name in _SIDES},
        example={"model": "reranker", "queries": "What is red?", "documents": ["A tomato.", "The sea."]},
        answers="score-",
        contents=_SIDES,
    )


RERANKING = tuple(_rerank(path) for path in ("/rerank", "/v1/rerank", "/v2/rerank"))
SCORING = tuple(_score(path) for path in ("/score", "/v1/score"))
