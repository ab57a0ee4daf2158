"""Budgets of tokens, and what each of several items gets of one.

The aim: what can be read stays readable, so whichever item shows least of itself is the next to get more. So images get
tokens in proportion to their area, and none is enlarged while another is too small to read. A larger budget never gives
an item fewer tokens: the order in which items get more does not depend on the budget, only how far it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heappop, heapreplace

from tessera.plan.choices import Choice, Weigh
from tessera.plan.family import Family

# What `detail: low` is: a picture of so many pixels on a side, and no more than a quarter of what a large one may be.
_LOW_SIDE, _LARGE_SIDE, _LOW_SHARE = 512, 4096, 4


@lru_cache(maxsize=256)
def low_tokens(family: Family, weigh: Weigh) -> int:
    """Tokens that an image of ``detail: low`` may be."""
    low, large = (weigh(family.image(side, side)) for side in (_LOW_SIDE, _LARGE_SIDE))
    return min(low, large // _LOW_SHARE)


def least_tokens(items: Sequence[Sequence[Choice]]) -> int:
    """Tokens that all items are together at the least."""
    return sum(choices[0].tokens for choices in items)


def spread(items: Sequence[Sequence[Choice]], most: int) -> list[Choice] | None:
    """One choice for each item, together no more than ``most`` tokens; None: they cannot be so few.

    Args:
        items: the choices for each, as ``image_choices`` and ``video_choices`` order them.
        most: tokens.
    """
    left = most - least_tokens(items)
    if left < 0:
        return None
    at = [0] * len(items)
    # The one that shows least is in front; of equal ones the first of the request.
    line = [(choices[0].level, i) for i, choices in enumerate(items) if len(choices) > 1]
    heapify(line)
    while line:
        _, i = line[0]
        choices = items[i]
        left -= choices[at[i] + 1].tokens - choices[at[i]].tokens
        if left < 0:
            break
        at[i] += 1
        if at[i] + 1 < len(choices):
            heapreplace(line, (choices[at[i]].level, i))
        else:
            heappop(line)
    return [choices[place] for choices, place in zip(items, at, strict=True)]
