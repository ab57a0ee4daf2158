"""What an item can be to its model, from the fewest tokens to all that it would be by itself.

Which sizes are worth asking for is a family's own (``Family.sizes``); what each of them is in tokens, its plan says. So
all that is here can only be as good as a plan, and never says anything else than it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tessera.plan.family import Family
from tessera.plan.plans import Plan, Size, Unplannable

Weigh = Callable[[Plan], int]
"""Tokens of a plan in the prompt."""

# A video that has to be less keeps so many of its frames until they are as small as they can be.
_KEPT_FRAMES = 4
_MOST_STEPS = 64
_STEPS_PER_HALVING = 4
_LEAST_SIDE = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """One of them.

    Attributes:
        tokens: in the prompt.
        level: how much of what is there the model sees, along a side: 1 is all of it. Of a video, with as much weight,
            along time.
        size: what its pixels are to be resized to; None: they stay.
        frames: numbers of a video's frames that are kept; None: all.
    """

    tokens: int
    level: float
    size: Size | None = None
    frames: tuple[int, ...] | None = None

    @property
    def untouched(self) -> bool:
        """It is the item as it came."""
        return self.size is None and self.frames is None


@lru_cache(maxsize=1024)
def image_choices(family: Family, width: int, height: int, weigh: Weigh) -> tuple[Choice, ...]:
    """What an image can be: tokens and levels ascend, and the last one is the image as it is.

    Raises:
        Unplannable: the model's processor refuses it as it is.
    """
    whole = family.image(width, height)
    found = []
    for size in dict.fromkeys(family.sizes(width, height)):
        try:
            plan = family.image(*size)
        except Unplannable:
            continue
        found.append(Choice(weigh(plan), min(_scale(plan.size, width, height), _scale(size, width, height)), size))
    return _ladder(found, Choice(weigh(whole), _scale(whole.size, width, height)))


def video_choices(
    family: Family, times_s: Sequence[float], width: int, height: int, weigh: Weigh, *, thin: bool = True
) -> tuple[Choice, ...]:
    """What a video can be, as ``image_choices``.

    A saving is taken from the number of frames and from their area alike, which keeps both the times at which
    something may be seen and what can be read of it. No fewer than four frames are left, where there were so many,
    until these are as small as they can be.

    Args:
        times_s: when its frames are shown.
        width: of a frame, pixels.
        height: of a frame, pixels.
        weigh: tokens of a plan.
        thin: frames may be left out.

    Raises:
        Unplannable: the model's processor refuses it as it is.
    """
    total = len(times_s)
    whole = family.video(times_s, width, height)
    found = []
    for count, area in _steps(total, width, height, thin=thin):
        kept = _spread_evenly(count, total)
        times = [times_s[i] for i in kept]
        side = math.sqrt(area)
        size = Size(max(1, int(width * side)), max(1, int(height * side)))
        try:
            plan, full = family.video(times, *size), family.video(times, width, height)
        except Unplannable:
            continue
        if weigh(plan) == weigh(full):
            # Smaller pixels would save nothing.
            plan, size = full, Size(width, height)
        seen = min(1.0, _scale(plan.size, width, height), _scale(size, width, height))
        resized = None if size == (width, height) else size
        level = math.sqrt(seen * math.sqrt(count / total))
        found.append(Choice(weigh(plan), level, resized, kept if count < total else None))
    return _ladder(found, Choice(weigh(whole), math.sqrt(min(1.0, _scale(whole.size, width, height)))))


def best(choices: Sequence[Choice], most: int) -> Choice | None:
    """The largest that is no more tokens; None: there is none."""
    fitting = [choice for choice in choices if choice.tokens <= most]
    return fitting[-1] if fitting else None


def _ladder(found: list[Choice], whole: Choice) -> tuple[Choice, ...]:
    """Of these, those of which none is both fewer tokens and more to see; then the whole."""
    ladder: list[Choice] = []
    for choice in sorted(found, key=lambda each: (each.tokens, -each.level)):
        if choice.tokens < whole.tokens and (not ladder or choice.level > ladder[-1].level):
            ladder.append(choice)
    return (*ladder, whole)


def _scale(shown: Size, width: int, height: int) -> float:
    return min(shown.width / width, shown.height / height)


def _steps(total: int, width: int, height: int, *, thin: bool) -> Iterator[tuple[int, float]]:
    """Numbers of frames, and shares of their area."""
    least = min(total, _KEPT_FRAMES) if thin else total
    for count in _counts(least, total):
        yield count, count / total
    area = least / total
    while area == least / total or math.sqrt(area) * min(width, height) > _LEAST_SIDE:
        # The last ones go where fewer pixels save nothing any more.
        for count in range(least, 0 if thin else least - 1, -1):
            yield count, area
        area /= 2 ** (1 / _STEPS_PER_HALVING)


def _counts(least: int, total: int) -> list[int]:
    """From all down, in no more than so many steps."""
    steps = min(_MOST_STEPS, total - least)
    return sorted({least + (total - least) * i // steps for i in range(steps)}, reverse=True) if steps else []


def _spread_evenly(count: int, total: int) -> tuple[int, ...]:
    if count == 1:
        return ((total - 1) // 2,)
    return tuple((2 * i * (total - 1) + count - 1) // (2 * (count - 1)) for i in range(count))
