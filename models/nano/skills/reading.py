"""Printed words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from models.nano import canvas
from models.nano.example import Example, Picture, Question
from models.nano.skills.asking import ask, pick
from models.nano.vocabulary import COLOURS, DIGITS, HELD_OUT_WORDS, LETTERS, TRAINING_WORDS

_UNCLEAR_ALONE = set("OI")  # as a single letter; a single digit is asked for as a number
_MARGIN = 3  # pixels around the text
_LEAST_HEIGHT, _MOST_HEIGHT = 9.0, 140.0  # pixels, of the capital letters
_REFERENCE_HEIGHT = 100.0


def reading(
    rng: np.random.Generator,
    *,
    held_out: bool = False,
    fonts: Sequence[str] = canvas.FONTS,
    height: float | None = None,
) -> Example:
    """A text of 1 to 4 characters somewhere in a picture.

    Args:
        held_out: words that training never shows.
        height: of the capital letters, in pixels; None: any that fits.
    """
    text = random_text(rng, held_out=held_out)
    noun = "number" if text.isdigit() else "word" if len(text) > 1 else "letter"
    while True:
        width, picture_height = canvas.random_size(rng)
        font = _fit(rng, pick(rng, fonts), text, width, picture_height, height)
        if font is not None:
            break
    colour = canvas.random_colour(rng, pick(rng, COLOURS))
    pixels = canvas.background(rng, width, picture_height, [colour])
    left, top, right, bottom = font.getbbox(text)
    x = float(rng.uniform(_MARGIN, max(_MARGIN, width - (right - left) - _MARGIN)))
    y = float(rng.uniform(_MARGIN, max(_MARGIN, picture_height - (bottom - top) - _MARGIN)))
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text((x, y), text, fill=colour, font=font, anchor="lt")
    regions = canvas.text_regions(font, text, x, y)
    picture = Picture(canvas.lossy(rng, np.array(image)), tuple(regions))
    return Example("reading", (picture,), (_what(rng, text, noun),))


def random_text(rng: np.random.Generator, *, held_out: bool = False) -> str:
    """A number, a word in capitals or a string of letters, of 1 to 4 characters."""
    length = int(rng.integers(1, 5))
    if rng.random() < 0.45:
        return "".join(pick(rng, DIGITS) for _ in range(length))
    if length > 1 and (held_out or rng.random() < 0.4):
        return pick(rng, HELD_OUT_WORDS if held_out else TRAINING_WORDS).upper()
    while True:
        text = "".join(pick(rng, LETTERS) for _ in range(length))
        if length > 1 or text not in _UNCLEAR_ALONE:
            return text


def _fit(
    rng: np.random.Generator, name: str, text: str, width: int, height: int, wanted: float | None
) -> canvas.Font | None:
    """The font at a size at which the text fits into the picture; None if there is none, or not of that height."""
    reference = canvas.font_of_height(name, _REFERENCE_HEIGHT)
    left, top, right, bottom = reference.getbbox(text)
    scale = min((width - 2 * _MARGIN) / (right - left), (height - 2 * _MARGIN) / (bottom - top))
    largest = scale * _REFERENCE_HEIGHT
    if wanted is None:
        if largest < _LEAST_HEIGHT:
            return None
        wanted = float(np.exp(rng.uniform(np.log(_LEAST_HEIGHT), np.log(min(largest, _MOST_HEIGHT)))))
    if wanted > largest:
        return None
    return canvas.font_of_height(name, wanted)


def _what(rng: np.random.Generator, text: str, noun: str) -> Question:
    texts = (
        f"What {noun} is it?",
        f"Which {noun} do you see?",
        "What does it say?",
        "Read the text.",
        f"Read the {noun}.",
        "What is written here?",
    )
    question = ask(rng, texts, f'it says "{text}"', [], [], text)
    return question if question.exact else Question(question.text, question.answer)
