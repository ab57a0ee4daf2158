"""Refuses what is longer than the model's context before it is queued, and before more is decoded than needed to know.

What is not known exactly does not count: the engine has the last word. Requests far from the limit are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tessera.errors import ContextLengthExceeded
from tessera.gateway.body import Document, Endpoint, Path
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import MediaPart
from tessera.gateway.planning import Planner
from tessera.gateway.prompt_counters import PromptCounters
from tessera.gateway.text_count import TextCount, count_text, text_bound, text_bytes
from tessera.media import MediaItem
from tessera.queue import ModelCard, PartTokens

# In which a request says that it is to be cut to what fits.
TRUNCATE = "truncate_prompt_tokens"
# Parts whose numbers a message tells.
_MOST_TOLD = 16


class ContextLimit:
    """Of one request: what of it is known so far.

    Args:
        parts: its media, in order.
    """

    def __init__(
        self,
        document: Document,
        endpoint: Endpoint,
        card: ModelCard,
        parts: Sequence[MediaPart],
        counters: PromptCounters,
        planner: Planner,
    ):
        self._document = document
        self._endpoint = endpoint
        self._card = card
        self._counters = counters
        self._planner = planner
        self._most = card.max_model_len
        self._parts = parts
        self._bound = text_bound(document, endpoint, parts)
        self._text_bytes = text_bytes(document, parts)
        self._planned = 0
        self._text: TextCount | None = None
        self._media: dict[Path, PartTokens] = {}
        self._off = _is_cut(document, endpoint)

    async def check_text(self) -> None:
        """Look at the text, if it may be too long already. Raises ``ContextLengthExceeded``."""
        if self._bound > self._most and not self._off:
            await self._count()
            self._check()

    @property
    def parts(self) -> tuple[PartTokens, ...]:
        """What each part of its media is, of those that are there."""
        return tuple(self._media[part.at] for part in self._parts if part.at in self._media)

    @property
    def about(self) -> int:
        """Tokens of all prompts together, about: media as far as it is planned, text by its length if not counted."""
        per_token = self._counters.ratios.bytes_per_token(self._card.model)
        text = self._text.tokens if self._text is not None else math.ceil(self._text_bytes / per_token)
        return text + self._planned

    def add(self, part: MediaPart, item: MediaItem, options: MediaOptions) -> None:
        """An item is there. Raises ``ContextLengthExceeded``: no more of them need to come."""
        planned = self._planner.item(self._card, item, options, self._counters.loaded(self._card))
        self._planned += planned.tokens or 0
        tokens = planned.tokens if planned.exact else None
        self._media[part.at] = PartTokens(part.path, part.modality.value, tokens)
        self._check()

    async def check(self) -> None:
        """All media is there: look at the text, if it may be too much with it. Raises ``ContextLengthExceeded``."""
        if self._text is None and not self._off and self._bound + self._tokens > self._most:
            await self._count()
            self._check()

    async def _count(self) -> None:
        text = await count_text(self._document, self._endpoint, self._card, self._parts, self._counters)
        if text.exact:
            self._text = text

    @property
    def _tokens(self) -> int:
        return sum(part.tokens or 0 for part in self._media.values())

    def _check(self) -> None:
        text = self._text.longest if self._text is not None else 0
        total = text + self._tokens
        if total <= self._most or self._off:
            return
        known = [part for part in self.parts if part.tokens is not None]
        told = [f"{text:,} of text"] if self._text is not None else []
        told += [f"{part.tokens:,} of `{part.path}` ({part.modality})" for part in known[:_MOST_TOLD]]
        if rest := known[_MOST_TOLD:]:
            told.append(f"{sum(part.tokens or 0 for part in rest):,} of {len(rest)} others")
        complete = self._text is not None and len(known) == len(self._parts)
        raise ContextLengthExceeded(
            f"This model's maximum context length is {self._most} tokens. However, your prompt contains "
            f"{'' if complete else 'at least '}{total} input tokens, which exceeds this limit even without any output "
            f"tokens: {', '.join(told)}. Please reduce the length of the input prompt.",
            param=self._param,
        )

    @property
    def _param(self) -> str:
        if self._endpoint.translate is not None:
            return self._endpoint.prompts[0][0]
        return "messages" if "messages" in self._document.value else "prompt"


def _is_cut(document: Document, endpoint: Endpoint) -> bool:
    """Whether the request says that its prompt is to be cut to what fits."""
    if endpoint.translate is None:
        return document.value.get(TRUNCATE) is not None
    # Of responses, null is not the same as nothing.
    return bool(document.value.get("truncation", "disabled") != "disabled")
