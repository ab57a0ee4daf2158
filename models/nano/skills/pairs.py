"""Two pictures in one message."""

from __future__ import annotations

import numpy as np

from models.nano import canvas
from models.nano.example import Example, Question
from models.nano.skills.asking import ask, choose, pick
from models.nano.skills.thing import Thing, make_thing, one_thing, picture_of, side
from models.nano.vocabulary import COLOURS, SHAPES, phrase

_ORDINALS = ("first", "second")
_MOST_PIXELS_A_SIDE = 300  # half of the pictures; two large ones are slow to learn from


def two_images(rng: np.random.Generator) -> Example:
    """What is in each of two pictures, and whether it is the same."""
    limits = {"most": _MOST_PIXELS_A_SIDE} if rng.random() < 0.7 else {}
    one, first = one_thing(rng, **limits)
    if rng.random() < 0.4:
        width, height = canvas.random_size(rng, **limits)
        length = side(rng, width, height)
        left, top = rng.uniform(0, width - length), rng.uniform(0, height - length)
        other = make_thing(rng, one.colour, one.shape, (left, top, left + length, top + length))
        second = picture_of(rng, width, height, [other])
    else:
        other, second = one_thing(rng, **limits)
    questions = [q for i, thing in enumerate((one, other)) for q in _about(rng, _ORDINALS[i], thing)]
    questions = [_same(rng, one, other), *choose(rng, questions, 3)]
    prompt = (first, second)
    if rng.random() < 0.2:
        prompt = ("The first image:", first, "The second image:", second)
    return Example("two images", prompt, tuple(questions))


def _about(rng: np.random.Generator, ordinal: str, thing: Thing) -> list[Question]:
    noun = pick(rng, ("image", "picture"))
    what = ask(
        rng,
        (f"What is in the {ordinal} {noun}?", f"Describe the {ordinal} {noun}."),
        phrase(thing.name),
        [thing.colour, thing.shape],
        {*COLOURS, *SHAPES},
    )
    colour = ask(
        rng,
        (f"What colour is the object in the {ordinal} {noun}?",),
        f"it is {thing.colour}",
        [thing.colour],
        COLOURS,
        thing.colour,
    )
    shape = ask(
        rng,
        (f"What shape is in the {ordinal} {noun}?",),
        f"it is a {thing.shape}",
        [thing.shape],
        SHAPES,
        thing.shape,
    )
    return [what, colour, shape]


def _same(rng: np.random.Generator, one: Thing, other: Thing) -> Question:
    word = "same" if one.name == other.name else "different"
    texts = (
        "Do the two images show the same object or different objects?",
        "Are the objects in the two pictures the same or different?",
        "Same or different?",
    )
    said = "they are the same" if word == "same" else "they are different"
    return ask(rng, texts, said, [word], {"same", "different"}, word)
