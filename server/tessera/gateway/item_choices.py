"""What items can be to a model, in tokens as its own tokenizer counts what its processor writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import ReferenceType, ref

from tessera.gateway.planning import times_s, tokens_of
from tessera.gateway.prompt_counters import PromptCounters
from tessera.media import MediaItem, Modality
from tessera.plan import Choice, Family, Plan, Unplannable, image_choices, video_choices
from tessera.prompt import PromptCounter, Uncountable
from tessera.queue import ModelCard


@dataclass(frozen=True, slots=True)
class Scale:
    """Weighs plans: their tokens in the prompt.

    It may be kept for long, as a part of a key, so it does not hold the tokenizer, which is large.

    Args:
        prompts: digest of the model's tokenizer; empty: what is written as text is only estimated.
        counter: the tokenizer, as long as somebody else has it.
    """

    prompts: str = ""
    counter: ReferenceType[PromptCounter] | None = field(default=None, compare=False)

    @classmethod
    async def of(cls, card: ModelCard, counters: PromptCounters) -> Scale:
        """With the model's own tokenizer, if that can be had."""
        try:
            return cls(card.prompts, ref(await counters.of(card)))
        except Uncountable:
            return cls()

    def now(self) -> Scale:
        """This one, or the one without a tokenizer where that has gone: what it says is remembered under its name."""
        return self if self.counter is not None and self.counter() is not None else ABOUT

    def __call__(self, plan: Plan) -> int:
        """Tokens of a plan."""
        counter = self.counter() if self.counter is not None else None
        if counter is None or not plan.texts:
            return tokens_of(plan)
        return plan.tokens + counter.pieces(plan.texts)


ABOUT = Scale()
"""Without a tokenizer."""


def choices_of(family: Family, item: MediaItem, weigh: Scale, *, thin: bool) -> tuple[Choice, ...]:
    """What an image or a video can be; nothing where the model's processor refuses it."""
    height, width = item.shape[-3:-1]
    weigh = weigh.now()
    try:
        if item.modality is Modality.IMAGE:
            return image_choices(family, width, height, weigh)
        return video_choices(family, times_s(item), width, height, weigh, thin=thin)
    except Unplannable:
        return ()


def image_tokens_of(family: Family, item: MediaItem, weigh: Scale) -> int:
    """Tokens of an image as it is; 0 where the model's processor refuses it."""
    height, width = item.shape[:2]
    try:
        return weigh(family.image(width, height))
    except Unplannable:
        return 0


def least_tokens_of(family: Family, item: MediaItem, weigh: Scale, *, thin: bool) -> int | None:
    """As few tokens as an image or a video can be; None where the model's processor refuses it."""
    if item.modality is Modality.IMAGE and (smaller := family.fewer()):
        return image_tokens_of(family.told(smaller[0]), item, weigh) or None
    choices = choices_of(family, item, weigh, thin=thin)
    return choices[0].tokens if choices else None


def can_thin(family: Family, modalities: Sequence[Modality]) -> bool:
    """Whether frames may be left out: not of one of several videos where the processor knows one rate for all."""
    return not family.times_by_rate or modalities.count(Modality.VIDEO) < 2
