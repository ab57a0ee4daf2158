"""What there is to see and hear, and how it is called."""

from __future__ import annotations

from pathlib import Path

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross")
NAMES = (*COLOURS, *SHAPES, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))
SIZES = ("small", "big")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PITCHES = ("low", "middle", "high")
DIRECTIONS = ("left", "right", "up", "down")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
ORDINALS = ("first", "second", "third", "fourth", "fifth")
MOST_CHARACTERS = 4  # of a word or number
MOST_THINGS = 5

# How far to the right and how far down; each holds where the ones before it hold, so that their sum is a distance.
ACROSS = tuple(f"beyond {part}/8 of the width" for part in range(1, 8))
DOWN = tuple(f"beyond {part}/8 of the height" for part in range(1, 8))
# What each token of a medium may show; see ``objective.AuxiliaryHead``.
LABELS = (
    *COLOURS,
    *SHAPES,
    *LETTERS,
    *DIGITS,
    *(
        f"{ordinal} character {character}"
        for ordinal in ORDINALS[:MOST_CHARACTERS]
        for character in (*LETTERS, *DIGITS)
    ),
    *(f"{pitch} tone" for pitch in PITCHES),
    *(f"spoken {number}" for number in NUMBERS),
    *(f"{ordinal} from the left" for ordinal in ORDINALS[:MOST_THINGS]),
    *(f"{ordinal} from the top" for ordinal in ORDINALS[:MOST_THINGS]),
    *ACROSS,
    *DOWN,
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
