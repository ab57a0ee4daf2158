"""How much of a request's images and videos its model gets to see: ``detail``, and budgets of tokens.

They are kept before the engine has anything of the request: by smaller pixels and fewer frames, or, for families that
enlarge every image to one size, by telling the processor another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tessera.errors import InvalidRequest, VisualBudgetTooSmall
from tessera.gateway.body import written
from tessera.gateway.item_choices import ABOUT, Scale, can_thin, choices_of, image_tokens_of
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import MediaPart
from tessera.gateway.planning import effective_family
from tessera.gateway.prompt_counters import PromptCounters
from tessera.media import MediaItem, Modality, Reduction
from tessera.plan import Choice, Family, best, low_tokens, spread
from tessera.queue import ModelCard
from tessera.settings import VisualDefaults

DETAILS = ("low", "high", "auto")
MOST_TOKENS, BUDGET = "max_visual_tokens", "visual_token_budget"
# What `detail: low` leaves of a video's tokens.
_LOW_SHARE_OF_VIDEO = 4
_VISUAL = (Modality.IMAGE, Modality.VIDEO)


@dataclass(frozen=True, slots=True)
class PartLimit:
    """What one part may be (``media.Fit``).

    Args:
        family: how its model counts, with what the request tells its processor.
        most: ``max_visual_tokens`` of the part, which is kept or refused.
        usual: the same by the server's default, which is kept where that can be.
        low: ``detail`` is ``low``.
        thin: frames of a video may be left out.
        weigh: counts the tokens.
    """

    family: Family
    most: int | None = None
    usual: int | None = None
    low: bool = False
    thin: bool = True
    weigh: Scale = ABOUT

    def __call__(self, item: MediaItem) -> Reduction | None:
        """How much smaller an item is to be.

        Raises:
            VisualBudgetTooSmall: it cannot be.
        """
        choices = self.choices(item)
        return reduction(choices[-1]) if choices else None

    def choices(self, item: MediaItem) -> Sequence[Choice]:
        """What it may be; nothing where the model's processor refuses it, which the engine will say.

        Raises:
            VisualBudgetTooSmall: nothing that it can be is within its limit.
        """
        all_of_them = choices_of(self.family, item, self.weigh, thin=self.thin)
        if not all_of_them:
            return ()
        choices = [each for each in all_of_them if self.most is None or each.tokens <= self.most]
        if not choices:
            raise _too_small(self.most, item.modality, all_of_them[0].tokens)
        wished = best(choices, min(self.wishes(item, all_of_them[-1].tokens)))
        return choices[: choices.index(wished) + 1] if wished else choices[:1]

    def wishes(self, item: MediaItem, whole: int) -> list[int]:
        """Tokens that are to be enough if they can be.

        Args:
            whole: of the item as it is.
        """
        low = whole
        if self.low:
            video = item.modality is Modality.VIDEO
            low = whole // _LOW_SHARE_OF_VIDEO if video else low_tokens(self.family, self.weigh)
        return [low, whole if self.usual is None else self.usual]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request's media.

    Attributes:
        reductions: by the place of the part; others stay as they are.
        told: what the model's processor is told besides (``mm_processor_kwargs``).
    """

    reductions: Mapping[int, Reduction] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VisualLimits:
    """What a request's images and videos may be.

    Attributes:
        parts: by the place of the part; None: as it is.
        budget: ``visual_token_budget``.
        usual: it is the server's default, which gives way where it cannot be kept.
        thin: frames of videos may be left out.
        weigh: counts the tokens.
    """

    family: Family | None
    paths: Sequence[str]
    parts: Sequence[PartLimit | None]
    budget: int | None = None
    usual: bool = False
    thin: bool = True
    weigh: Scale = ABOUT

    async def weighed(self, card: ModelCard, counters: PromptCounters) -> VisualLimits:
        """The same in tokens as the model's own tokenizer counts them, where there is anything to keep."""
        if self.family is None or not self.any:
            return self
        weigh = await Scale.of(card, counters)
        return replace(self, weigh=weigh, parts=[part and replace(part, weigh=weigh) for part in self.parts])

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.budget is not None or any(self.parts)

    @property
    def settled(self) -> bool:
        """Whether each part is as it will be once it is prepared."""
        by_processor = self.family is not None and self.any and self.family.fewer()
        return self.budget is None and not by_processor

    def fit(self, place: int) -> PartLimit | None:
        """What can be seen to of a part alone, while it is prepared."""
        return None if self.family is None or self.family.fewer() else self.parts[place]

    async def decide(self, items: Sequence[MediaItem]) -> Decision:
        """What is to become of the items, once all of them are known.

        Raises:
            VisualBudgetTooSmall: naming the part for which nothing is left, and the least that works.
        """
        family = self.family
        if family is None or not self.any:
            return Decision()
        if family.fewer():
            return Decision(told=self._resolution(family, items))
        # A long video has many choices.
        made = await asyncio.to_thread(self._spread, family, items) if self.budget is not None else {}
        return Decision(made, _rate(family, items, made))

    def _spread(self, family: Family, items: Sequence[MediaItem]) -> dict[int, Reduction]:
        assert self.budget is not None
        limits = [limit or PartLimit(family, thin=self.thin, weigh=self.weigh) for limit in self.parts]
        visual = [i for i, item in enumerate(items) if item.modality in _VISUAL]
        chains = {i: chain for i in visual if (chain := limits[i].choices(items[i]))}
        chosen = spread(list(chains.values()), self.budget)
        if chosen is None:
            self._check_budget({i: chain[0].tokens for i, chain in chains.items()})
            chosen = [chain[0] for chain in chains.values()]
        made = {i: reduction(choice) for i, choice in zip(chains, chosen, strict=True)}
        return {i: smaller for i, smaller in made.items() if smaller is not None}

    def _resolution(self, family: Family, items: Sequence[MediaItem]) -> Mapping[str, Any]:
        """One size for all images: the largest with which each of them is within its limit, and all within theirs."""
        images = [i for i, item in enumerate(items) if item.modality is Modality.IMAGE]
        whole = {i: image_tokens_of(family, items[i], self.weigh) for i in images}
        limits = {i: self.parts[i] or PartLimit(family, weigh=self.weigh) for i in images}
        wished = {i: min(limit.wishes(items[i], whole[i])) for i, limit in limits.items()}
        kept = {i: whole[i] if limit.most is None else limit.most for i, limit in limits.items()}
        options: Mapping[str, Any] = {}
        tokens = whole
        for options in ({}, *reversed(family.fewer())):
            tokens = {i: image_tokens_of(family.told(options), items[i], self.weigh) for i in images}
            within = all(tokens[i] <= min(wished[i], kept[i]) for i in images)
            if within and (self.budget is None or sum(tokens.values()) <= self.budget):
                return options
        for i in images:
            if tokens[i] > kept[i]:
                raise _too_small(kept[i], Modality.IMAGE, tokens[i], self.paths[i])
        if self.budget is not None and sum(tokens.values()) > self.budget:
            self._check_budget(tokens)
        return options

    def _check_budget(self, least: Mapping[int, int]) -> None:
        """Refuse a budget that is not enough for the least that these parts can be, unless it gives way."""
        if self.usual or self.budget is None:
            return
        needed, used, path = sum(least.values()), 0, None
        for i, tokens in least.items():
            used += tokens
            if used > self.budget:
                path = self.paths[i]
                break
        raise VisualBudgetTooSmall(
            f"The images and videos of this request cannot be {self.budget} token(s) or fewer together for this model, "
            f"and nothing is left for `{path}`: `{BUDGET}` must be at least {needed}.",
            param=path,
        )


def read_limits(
    body: Mapping[str, Any], parts: Sequence[MediaPart], card: ModelCard, options: MediaOptions, usual: VisualDefaults
) -> VisualLimits:
    """What a request asks for.

    Args:
        body: the request.
        usual: where it does not.

    Raises:
        InvalidRequest: a value that is none, or that cannot be kept for this part or model; naming it.
    """
    family = effective_family(card, options)
    for p in parts:
        _check(p, family)
    budget, paths = _budget(body), [p.path for p in parts]
    if family is None:
        if budget is not None and any(p.modality in _VISUAL for p in parts):
            raise _unknown(BUDGET, BUDGET)
        return VisualLimits(None, paths, [None] * len(parts))
    thin = can_thin(family, [p.modality for p in parts])
    limits = [_limit(p, family, usual, thin=thin) for p in parts]
    by_default = budget is None
    return VisualLimits(family, paths, limits, usual.visual_token_budget if by_default else budget, by_default, thin)


def reduction(choice: Choice) -> Reduction | None:
    """What makes an item a choice."""
    return None if choice.untouched else Reduction(choice.size, choice.frames)


def _limit(p: MediaPart, family: Family, usual: VisualDefaults, *, thin: bool) -> PartLimit | None:
    if p.modality not in _VISUAL:
        return None
    low = (usual.detail if p.detail in (None, "auto") else p.detail) == "low"
    by_default = usual.max_visual_tokens if p.most_tokens is None else None
    if not low and by_default is None and p.most_tokens is None:
        return None
    return PartLimit(family, p.most_tokens, by_default, low, thin)


def _check(p: MediaPart, family: Family | None) -> None:
    if p.modality in _VISUAL and p.detail is not None and p.detail not in DETAILS:
        known = ", ".join(f"`{each}`" for each in DETAILS)
        raise InvalidRequest(f"`detail` of an image or a video must be one of {known}.", param=p.path)
    most, at = p.most_tokens, written((*p.at, MOST_TOKENS))
    if most is None:
        return
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise InvalidRequest(f"`{MOST_TOKENS}` must be an integer above 0.", param=at)
    if p.modality not in _VISUAL:
        raise InvalidRequest(f"`{MOST_TOKENS}` is for images and videos; {p.modality} parts cannot have it.", param=at)
    if family is None:
        raise _unknown(MOST_TOKENS, at)


def _budget(body: Mapping[str, Any]) -> int | None:
    budget = body.get(BUDGET)
    if budget is None:
        return None
    # In JSON 64.0 is an integer.
    if isinstance(budget, bool) or not isinstance(budget, int | float) or budget % 1 or budget < 1:
        raise InvalidRequest(f"`{BUDGET}` must be an integer above 0.", param=BUDGET)
    return int(budget)


def _unknown(name: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{name}` cannot be kept for this request: how its model counts media is not known here.", param=param
    )


def _too_small(most: int | None, modality: Modality, least: int, path: str | None = None) -> VisualBudgetTooSmall:
    return VisualBudgetTooSmall(
        f"This {modality} cannot be {most} token(s) or fewer for this model: `{MOST_TOKENS}` must be at least {least}.",
        param=path,
    )


def _rate(family: Family, items: Sequence[MediaItem], made: Mapping[int, Reduction]) -> dict[str, float]:
    """The rate of a video's frames that are left, for processors that know their times from nothing else."""
    videos = [i for i, item in enumerate(items) if item.modality is Modality.VIDEO]
    if not family.times_by_rate or len(videos) != 1:
        return {}
    [place] = videos
    metadata, smaller = items[place].metadata, made.get(place)
    frames = len(metadata["frames_indices"]) if smaller is None or smaller.frames is None else len(smaller.frames)
    return {"fps": frames / metadata["total_num_frames"] * metadata["fps"]}
