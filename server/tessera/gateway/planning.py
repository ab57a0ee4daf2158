"""What the media of a request is to its model: planned from decoded items, and compared with what engines count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import structlog

from tessera.gateway.media_options import MediaOptions
from tessera.media import MediaItem, Modality
from tessera.plan import Family, Plan, UnknownFamily, Unplannable, announced_family
from tessera.queue import ModelCard
from tessera.telemetry import metrics

log = structlog.get_logger()

# Of most texts in most tokenizers.
BYTES_PER_TOKEN = 4


def family_of(card: ModelCard) -> Family | None:
    """How a model's media is counted; None: only its own processor knows, or a newer version of this server."""
    return _family(orjson.dumps(card.plan))


@lru_cache(maxsize=256)
def _family(announced: bytes) -> Family | None:
    try:
        return announced_family(orjson.loads(announced))
    except UnknownFamily:
        return None


def effective_family(card: ModelCard, options: MediaOptions) -> Family | None:
    """The same with what a request tells its processor; None also where it tells what no plan follows."""
    family = family_of(card)
    if family is None or not options.known:
        return None
    try:
        return family.within(options.min_pixels, options.max_pixels)
    except Unplannable:
        return None


def tokens_of(plan: Plan) -> int:
    """Tokens in the prompt; of what stands there as text, which its tokenizer alone knows, about."""
    return plan.tokens + sum(math.ceil(len(text) / BYTES_PER_TOKEN) for text in plan.texts)


def plan_item(family: Family, item: MediaItem, options: MediaOptions) -> Plan:
    """What the model's processor makes of an item.

    Raises:
        Unplannable: it refuses it, or does with it what no plan follows.
    """
    family = family.within(options.min_pixels, options.max_pixels).told(options.told)
    if item.modality is Modality.AUDIO:
        return family.audio(item.shape[0])
    height, width = item.shape[-3:-1]
    if item.modality is Modality.IMAGE:
        return family.image(width, height)
    samples = item.sound.shape[0] if options.sound_of_videos and item.sound else None
    return family.video(times_s(item), width, height, samples=samples)


def times_s(item: MediaItem) -> list[float]:
    """When each frame of a video is shown, in seconds."""
    rate = item.metadata["fps"]
    return [index / rate for index in item.metadata["frames_indices"]]


class Planner:
    """Plans for a gateway's requests; it remembers of which models engines counted something else."""

    def __init__(self) -> None:
        self._contradicted: set[str] = set()

    def trusts(self, model: str) -> bool:
        """Whether no engine has counted anything else than was planned."""
        return model not in self._contradicted

    def expect(self, card: ModelCard, items: Iterable[MediaItem], options: MediaOptions) -> Expectation | None:
        """What an engine is to count of a request's media; None where that is not known exactly."""
        family = family_of(card)
        if family is None or family.joined or not options.known:
            return None
        tokens: Counter[str] = Counter()
        for item in items:
            try:
                plan = plan_item(family, item, options)
            except Unplannable:
                return None
            if plan.texts:
                return None
            tokens[item.modality.value] += plan.tokens
            if options.sound_of_videos and item.sound:
                tokens[Modality.AUDIO.value] += plan.tokens
        return Expectation(self, card.model, tokens) if tokens else None

    def contradicted(self, model: str) -> None:
        """An engine of the model counted something else."""
        self._contradicted.add(model)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an engine is to count of one request's media.

    Args:
        tokens: by modality, as vLLM counts them: a video's sound, and all between, with both.
    """

    planner: Planner
    model: str
    tokens: Mapping[str, int]

    def compare(self, usage: Mapping[str, Any]) -> None:
        """Count whether an answer's usage bears it out; what contradicts it is logged."""
        counted = (usage.get("prompt_tokens_details") or {}).get("multimodal_tokens")
        if not isinstance(counted, dict):
            return  # an engine that does not say
        counted = {name: count for name, count in counted.items() if count}
        exact = counted == dict(self.tokens)
        metrics.PLANS.labels(self.model, "exact" if exact else "contradicted").inc()
        if not exact:
            self.planner.contradicted(self.model)
            log.warning("plan_contradicted", model=self.model, planned=dict(self.tokens), counted=counted)
