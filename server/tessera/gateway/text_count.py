"""How many tokens the text of a request is: counted with the model's tokenizer, or guessed from its length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.gateway.body import Document, Endpoint
from tessera.gateway.media_part import MediaPart
from tessera.gateway.part import TEXT
from tessera.gateway.prompt_counters import PromptCounters
from tessera.prompt import MediaAt, PromptCounter, Uncountable
from tessera.queue import ModelCard

# What a template may write of its own accord, for the whole and for each message, bytes.
_TEMPLATE_BYTES, _MESSAGE_BYTES = 1024, 64
# What comes to a tool of another API where it becomes a chat's.
_TOOL_BYTES = 256


@dataclass(frozen=True, slots=True)
class TextCount:
    """Tokens of all prompts of a request, without media.

    Attributes:
        exact: they were counted; otherwise guessed.
        longest: of its longest prompt: each has a context of its own.
        at_most: there are no more than this.
        reason: why they were not counted.
    """

    tokens: int
    exact: bool
    longest: int
    at_most: int
    reason: str | None = None


async def count_text(
    document: Document, endpoint: Endpoint, card: ModelCard, parts: Sequence[MediaPart], counters: PromptCounters
) -> TextCount:
    """Count, in a thread.

    Args:
        parts: its media.
    """
    body = document.value
    # What a chat calls so means nothing.
    given = [] if "messages" in body else [len(prompt) for prompt in token_prompts(body.get("prompt"))]
    if given:
        return _exact(given)
    try:
        counter = await counters.of(card)
        counts = await counters.run(lambda: _counts(counter, document, endpoint, parts))
    except Uncountable as error:
        per_token = counters.ratios.bytes_per_token(card.model)
        sizes = await document.run(lambda read: text_sizes(read, endpoint, parts))
        guessed = [math.ceil(size / per_token) for size in sizes]
        most, longest = text_bound(document, endpoint, parts), max(guessed, default=0)
        return TextCount(sum(guessed), exact=False, longest=longest, at_most=most, reason=str(error))
    return _exact(counts)


def _exact(counts: list[int]) -> TextCount:
    return TextCount(sum(counts), exact=True, longest=max(counts), at_most=sum(counts))


def text_bound(document: Document, endpoint: Endpoint, parts: Sequence[MediaPart]) -> int:
    """More bytes than there is text, and so than there are tokens of it; it costs next to nothing.

    Args:
        parts: media, of which nothing is text.
    """
    body, written = document.value, _TEMPLATE_BYTES
    messages = body.get(endpoint.prompts[0][0] if endpoint.translate is not None else "messages")
    if isinstance(messages, list):
        written += _MESSAGE_BYTES * len(messages)
    if endpoint.translate is not None and isinstance(tools := body.get("tools"), list):
        written += _TOOL_BYTES * len(tools)
    return text_bytes(document, parts) + written


def text_bytes(document: Document, parts: Sequence[MediaPart]) -> int:
    """What a request takes without its media.

    Args:
        parts: all of its media.
    """
    return document.nbytes - sum(len(part.source.text) for part in parts)


def token_prompts(prompt: Any) -> list[list[int]]:
    """Prompts that are tokens already."""
    if not isinstance(prompt, list) or not prompt:
        return []
    # In JSON 2.0 is an integer.
    if isinstance(prompt[0], int | float):
        return [prompt]
    return prompt if isinstance(prompt[0], list) else []


def _counts(counter: PromptCounter, document: Document, endpoint: Endpoint, parts: Sequence[MediaPart]) -> list[int]:
    body = document.value
    if endpoint.translate is not None:
        made = endpoint.translate(document, _media_at(parts), counter)
        return [counter.chat(made.body, made.media, calls_as_made=made.calls_as_made).tokens]
    if "messages" in body:
        media = {place: part.modality.value for part in parts if (place := part.place) is not None}
        return [counter.chat(body, media, document.string).tokens]
    prompts = body["prompt"]
    texts = [prompts] if isinstance(prompts, str) else prompts
    return [counter.prompt(body, document.string(text)) for text in texts]


def text_sizes(document: Document, endpoint: Endpoint, parts: Sequence[MediaPart]) -> list[int]:
    """Bytes of each prompt's text; of prompts that are tokens there is none."""
    body = document.value
    if endpoint.translate is not None:
        try:
            made = endpoint.translate(document, _media_at(parts), None)
        except Uncountable:
            return [document.nbytes - sum(len(part.source.text) for part in parts)]
        return [sum(len(text.encode("utf-8", "replace")) for text in _texts(made.body["messages"]))]
    if "messages" in body:
        return [sum(_nbytes(document, text) for text in _texts(body["messages"]))]
    prompts = body.get("prompt") or []
    if token_prompts(prompts):
        return []
    return [_nbytes(document, text) for text in ([prompts] if isinstance(prompts, str) else prompts)]


def _media_at(parts: Sequence[MediaPart]) -> MediaAt:
    return {part.at: part.modality.value for part in parts}


def _nbytes(document: Document, text: str) -> int:
    return len(document.string(text).encode("utf-8", "replace"))


def _texts(messages: list[Any]) -> Iterator[str]:
    for message in messages:
        content = message.get("content") or []
        for part in [content] if isinstance(content, str) else content:
            if part is None:
                continue
            # One without a type may be a medium.
            text = part if isinstance(part, str) else part.get(TEXT.get(part.get("type") or "text", ""))
            if isinstance(text, str):
                yield text
