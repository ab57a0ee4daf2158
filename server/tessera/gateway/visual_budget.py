"""How much of a request's images and videos its model gets to see: ``detail``, and budgets of tokens.

They are kept before the engine has anything of the request: by smaller pixels and fewer frames, or, for families that
enlarge every image to one size, by telling the processor another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tessera.errors import VisualBudgetTooSmall
from tessera.gateway.item_choices import ABOUT, Scale, choices_of, image_tokens_of
from tessera.gateway.prompt_counters import PromptCounters
from tessera.media import MediaItem, Modality, Reduction
from tessera.plan import Choice, Family, best, low_tokens, spread
from tessera.queue import ModelCard

DETAILS = ("low", "high", "auto")
MOST_TOKENS, BUDGET = "max_visual_tokens", "visual_token_budget"
# What `detail: low` leaves of a video's tokens.
_LOW_SHARE_OF_VIDEO = 4
VISUAL = (Modality.IMAGE, Modality.VIDEO)


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
        visual = [i for i, item in enumerate(items) if item.modality in VISUAL]
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


def reduction(choice: Choice) -> Reduction | None:
    """What makes an item a choice."""
    return None if choice.untouched else Reduction(choice.size, choice.frames)


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
