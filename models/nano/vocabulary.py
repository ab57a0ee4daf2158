"""What there is to see and hear, and how it is called."""

from __future__ import annotations

from pathlib import Path

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "big")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PITCHES = ("low", "middle", "high")
DIRECTIONS = ("left", "right", "up", "down")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"

PLACES = ("at the left", "at the right", "at the top", "at the bottom")
# What each token of a medium may show; see ``objective.AuxiliaryHead``.
LABELS = (
    *COLOURS,
    *SHAPES,
    *LETTERS,
    *DIGITS,
    *(f"{pitch} tone" for pitch in PITCHES),
    *(f"spoken {number}" for number in NUMBERS),
    *PLACES,
    *(f"moving {direction}" for direction in DIRECTIONS),
)

WORDS = tuple((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())
"""English words of two to four letters, printed in capitals and repeated in text."""

# Never printed in training, so that reading them shows reading and not recall.
HELD_OUT_WORDS = WORDS[7::9]
TRAINING_WORDS = tuple(word for word in WORDS if word not in set(HELD_OUT_WORDS))


def phrase(*nouns: str) -> str:
    """``nouns`` with their articles, listed: "a red square, a blue circle and an orange star"."""
    named = [f"{'an' if noun[0] in 'aeio' else 'a'} {noun}" for noun in nouns]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def sentence(text: str) -> str:
    """``text`` with a capital first and a full stop last."""
    return f"{text[0].upper()}{text[1:]}."
