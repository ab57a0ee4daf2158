"""The rows of the evaluation's table: what is asked, and how much of it should be answered rightly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.nano import canvas
from models.nano.curriculum import Maker, Split
from models.nano.example import Example, Question
from models.nano.skills import hearing, objects, reading
from models.nano.voices import VoiceBank

READ_AT = 28.0  # pixels: the height of the letters at which reading is judged
HEIGHTS = (10.0, 14.0, 20.0, READ_AT, 40.0, 60.0)
_HIGHEST_SEED = 2**31


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        target: least part of right answers, from 0 to 1; None: reported without one.
        make: an example by its seed.
    """

    name: str
    target: float | None
    make: Callable[[int], Example]

    def questions(self, count: int) -> Iterator[tuple[int, Example, Question]]:
        """``count`` examples with one of their questions each, and their seeds; always the same ones."""
        for seed in range(count):
            example = self.make(seed)
            asked = [question for question in example.questions if not question.lesson]
            yield seed, example, asked[int(np.random.default_rng(seed).integers(len(asked)))]


def table(bank: VoiceBank) -> list[Row]:
    """The rows with a target: held-out seeds, words, fonts and voices."""
    maker = Maker(bank, Split.HELD_OUT)

    def kind(name: str) -> Callable[[int], Example]:
        return lambda seed: maker.example(name, seed)

    return [
        Row("one object: colour, shape, size, describe", 0.97, kind("one object")),
        Row("count, 1 to 5", 0.93, kind("count")),
        Row("count of a colour or shape", None, lambda seed: objects.count_alike(_rng(seed, 5))),
        Row("position", 0.93, kind("position")),
        _reading(READ_AT, 0.90),
        Row("two images", 0.90, kind("two images")),
        Row("video: motion, colour change, order", 0.93, kind("video")),
        Row("sound: pitch", 0.97, lambda seed: hearing.pitch(_rng(seed, 1))),
        Row("sound: number of beeps", 0.93, lambda seed: hearing.beeps(_rng(seed, 2))),
        Row("sound: spoken digits", 0.85, lambda seed: hearing.digit(_rng(seed, 3), bank, held_out=True)),
        Row("mixed: image, clip and sound", 0.90, kind("mixed")),
        Row("text only", None, kind("text only")),
        Row("unanswerable", 0.90, kind("unanswerable")),
    ]


def reading_curve() -> list[Row]:
    """Reading at other heights of the letters than the one that is judged, and in fonts that training never shows."""
    heights = [_reading(height, None) for height in HEIGHTS if height != READ_AT]
    return [*heights, _reading(READ_AT, None, canvas.HELD_OUT_FONTS)]


def tradeoff(bank: VoiceBank) -> list[Row]:
    """What is asked where an image may be fewer tokens: reading and counting."""
    [counting] = [row for row in table(bank) if row.name.startswith("count, ")]
    return [*(_reading(height, None) for height in (14.0, READ_AT, 60.0)), counting]


def _reading(height: float, target: float | None, fonts: Sequence[str] = canvas.FONTS) -> Row:
    return Row(
        f"reading, letters {height:.0f} px high{'' if fonts == canvas.FONTS else ', unseen fonts'}",
        target,
        lambda seed: reading.reading(_rng(seed, 4), held_out=True, fonts=fonts, height=height),
    )


def _rng(seed: int, row: int) -> np.random.Generator:
    return np.random.default_rng((int(Split.HELD_OUT), seed, _HIGHEST_SEED + row))
