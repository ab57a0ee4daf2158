"""What the media of a request is to its model: planned from decoded items, and compared with what engines count."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import structlog

from tessera.gateway.learnt_tokens import LearntTokens, kind_of_item
from tessera.gateway.media_options import MediaOptions
from tessera.media import MediaItem, Modality
from tessera.plan import Family, Plan, UnknownFamily, Unplannable, announced_family
from tessera.prompt import PromptCounter
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


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """What an item is to its model.

    Attributes:
        plan: None: no family plans it.
        tokens: in the prompt in its place, a video's sound included; None: they are not known.
        exact: an engine will count as many.
        reason: why they are not known.
    """

    plan: Plan | None
    tokens: int | None
    exact: bool
    reason: str | None = None


class Planner:
    """Plans for a gateway's requests; it remembers of which models engines counted something else, and what.

    Attributes:
        learnt: what they counted, of those models and of models that nobody here plans for.
    """

    def __init__(self) -> None:
        self.learnt = LearntTokens()
        self._contradicted: set[str] = set()

    def trusts(self, model: str) -> bool:
        """Whether no engine has counted anything else than was planned."""
        return model not in self._contradicted

    def item(
        self, card: ModelCard, item: MediaItem, options: MediaOptions, counter: PromptCounter | None = None
    ) -> PlannedItem:
        """What an item is to a model.

        Args:
            counter: counts what the processor writes as text; None: it is not loaded.
        """
        family = family_of(card)
        learnt: int | None = None
        if family is None or not self.trusts(card.model):
            kind = kind_of_item(card, item, options)
            learnt = self.learnt.get(kind) if kind is not None else None
        if family is None:
            reason = None if learnt else "Only the processor of this model knows how it counts media."
            return PlannedItem(None, learnt, learnt is not None, reason)
        if not options.known:
            return PlannedItem(None, None, False, "The request's `mm_processor_kwargs` decide it.")
        try:
            plan = plan_item(family, item, options)
        except Unplannable as error:
            return PlannedItem(None, learnt, learnt is not None, str(error))
        if learnt is not None:
            return PlannedItem(plan, learnt, exact=True)
        exact = (counter is not None or not plan.texts) and not family.joined and self.trusts(card.model)
        tokens = tokens_of(plan) if counter is None else plan.tokens + counter.pieces(plan.texts)
        return PlannedItem(plan, tokens, exact)

    def expect(
        self,
        card: ModelCard,
        items: Sequence[MediaItem],
        options: MediaOptions,
        counter: PromptCounter | None = None,
    ) -> Expectation | None:
        """What an engine is to count of a request's media; None where there is nothing to compare, or to learn.

        Args:
            counter: as of ``item``.
        """
        family = family_of(card)
        if not items or not options.known or (family is not None and family.joined):
            return None
        if family is None:
            return Expectation(self, card, tuple(items), options, None)
        tokens: Counter[str] = Counter()
        for item in items:
            try:
                plan = plan_item(family, item, options)
            except Unplannable:
                return None
            if plan.texts and counter is None:
                return None
            written = plan.tokens + (counter.pieces(plan.texts) if counter is not None else 0)
            tokens[item.modality.value] += written
            if options.sound_of_videos and item.sound:
                tokens[Modality.AUDIO.value] += written
        return Expectation(self, card, tuple(items), options, tokens)

    def contradicted(self, model: str) -> None:
        """An engine of the model counted something else."""
        self._contradicted.add(model)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an engine is to count of one request's media.

    Args:
        tokens: by modality, as vLLM counts them: a video's sound, and all between, with both; None: nobody knows.
    """

    planner: Planner
    card: ModelCard
    items: tuple[MediaItem, ...]
    options: MediaOptions
    tokens: Mapping[str, int] | None

    def compare(self, usage: Mapping[str, Any]) -> None:
        """Count whether an answer's usage bears it out; what contradicts it is logged, and learnt."""
        counted = (usage.get("prompt_tokens_details") or {}).get("multimodal_tokens")
        if not isinstance(counted, dict):
            return  # an engine that does not say
        counted = {name: count for name, count in counted.items() if count}
        model = self.card.model
        if self.tokens is not None:
            exact = counted == dict(self.tokens)
            metrics.PLANS.labels(model, "exact" if exact else "contradicted").inc()
            if not exact:
                self.planner.contradicted(model)
                log.warning("plan_contradicted", model=model, planned=dict(self.tokens), counted=counted)
        if self.tokens is None or not self.planner.trusts(model):
            self._learn(counted)

    def _learn(self, counted: Mapping[str, int]) -> None:
        kinds: defaultdict[str, list[Hashable]] = defaultdict(list)
        for item in self.items:
            if (kind := kind_of_item(self.card, item, self.options)) is None:
                return
            kinds[item.modality.value].append(kind)
        if self.options.sound_of_videos:
            # vLLM counts a video and its sound, which are one to it, with both.
            sounds = counted.get(Modality.AUDIO.value, 0) - counted.get(Modality.VIDEO.value, 0)
            counted = {**counted, Modality.AUDIO.value: sounds}
        self.planner.learnt.learn(kinds, counted)
