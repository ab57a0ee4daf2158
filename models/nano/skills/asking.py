"""How questions are put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from models.nano.example import Question
from models.nano.vocabulary import sentence

ONE_WORD = ("Answer with one word.", "Answer in one word.", "One word only.")

_T = TypeVar("_T")


def pick(rng: np.random.Generator, items: Sequence[_T]) -> _T:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def choose(rng: np.random.Generator, items: Sequence[_T], count: int) -> list[_T]:
    """``count`` different ones of the items, in random order."""
    return [items[i] for i in rng.permutation(len(items))[:count]]


def ask(
    rng: np.random.Generator,
    texts: Sequence[str],
    answer: str,
    wanted: Sequence[str],
    among: Iterable[str],
    word: str = "",
) -> Question:
    """A question in one of its wordings.

    Args:
        answer: a clause, which becomes a sentence.
        word: the answer in one word; one question in four asks for it.
    """
    text = pick(rng, texts)
    if word and rng.random() < 0.25:
        return Question(f"{text} {pick(rng, ONE_WORD)}", word[0].upper() + word[1:], exact=True)
    return Question(text, sentence(answer), tuple(wanted), frozenset(among))
