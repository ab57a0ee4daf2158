"""One picture of one or several things: colour, shape, size, number, position."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from models.nano import canvas
from models.nano.example import Example, Picture, Question
from models.nano.skills.asking import ask, choose, pick
from models.nano.skills.thing import Thing, different_names, make_thing, one_thing, picture_of, side
from models.nano.vocabulary import COLOURS, MOST_THINGS, NUMBERS, SHAPES, SIZES, phrase

_COUNTED = (*NUMBERS, "no")
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
_SIDES = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}
"""Relation: axis (0: x, 1: y), and sign of the other's coordinate minus its own."""


def one_object(rng: np.random.Generator) -> Example:
    """Colour, shape and size of a single thing."""
    size = pick(rng, SIZES)
    thing, picture = one_thing(rng, size)
    said = json.dumps({"size": size, "colour": thing.colour, "shape": thing.shape})
    as_json = Question("Describe the object as JSON.", said, lesson=True)
    return Example("one object", (picture,), (*choose(rng, about_thing(rng, thing, size), 3), as_json))


def about_thing(rng: np.random.Generator, thing: Thing, size: str) -> list[Question]:
    """The questions about a single thing."""
    full = f"{size} {thing.name}"
    return [
        ask(
            rng,
            (f"What colour is the {thing.shape}?", "What colour is it?", f"What color is the {thing.shape}?"),
            f"the {thing.shape} is {thing.colour}",
            [thing.colour],
            COLOURS,
            thing.colour,
        ),
        ask(
            rng,
            ("What shape is it?", f"What is the {thing.colour} shape?", "Which shape do you see?"),
            f"it is a {thing.shape}",
            [thing.shape],
            SHAPES,
            thing.shape,
        ),
        ask(rng, (f"Is the {thing.shape} small or big?", "What size is it?"), f"it is {size}", [size], SIZES, size),
        ask(
            rng,
            (
                "Describe the picture.",
                "What do you see?",
                "What is in the picture?",
                "Describe the image.",
                "What is this?",
            ),
            phrase(full),
            full.split(),
            {*SIZES, *COLOURS, *SHAPES},
        ),
    ]


def several(rng: np.random.Generator, least: int, most: int) -> tuple[list[Thing], int, int]:
    """``least`` to ``most`` different things that do not touch, and the picture's width and height."""
    count = int(rng.integers(least, most + 1))
    while True:
        width, height = canvas.random_size(rng)
        limit = min(0.42, 0.9 / count**0.6)
        sides = [float(rng.uniform(0.16, limit)) * min(width, height) for _ in range(count)]
        boxes = canvas.place(rng, width, height, sides)
        if boxes is not None:
            break
    names = different_names(rng, count)
    return [make_thing(rng, *name, box) for name, box in zip(names, boxes, strict=True)], width, height


def count(rng: np.random.Generator) -> Example:
    """How many things there are. How many of a colour or a shape is only taught."""
    things, picture = _counted(rng)
    lessons = [*_how_many_alike(rng, things), _list(rng, things), *_found(rng, things)]
    questions = [_how_many(rng, "object", len(things)), *(replace(lesson, lesson=True) for lesson in lessons)]
    return Example("count", (picture,), tuple(questions))


def count_alike(rng: np.random.Generator) -> Example:
    """How many things of a colour or a shape there are among others."""
    things, picture = _counted(rng)
    return Example("count", (picture,), tuple(_how_many_alike(rng, things)))


def _counted(rng: np.random.Generator) -> tuple[list[Thing], Picture]:
    things, width, height = several(rng, 1, MOST_THINGS)
    if rng.random() < 0.4:  # some of the same shape or colour
        colour, shape = things[0].colour, things[0].shape
        alike = [rng.random() < 0.6 for _ in things]
        by_shape = rng.random() < 0.5
        things = [
            make_thing(rng, t.colour if by_shape else colour, shape if by_shape else t.shape, t.box) if same else t
            for t, same in zip(things, alike, strict=True)
        ]
    return things, picture_of(rng, width, height, things)


def _how_many_alike(rng: np.random.Generator, things: list[Thing]) -> list[Question]:
    shape, colour = pick(rng, things).shape, pick(rng, things).colour
    return [
        _how_many(rng, shape, sum(thing.shape == shape for thing in things)),
        _how_many(rng, f"{colour} object", sum(thing.colour == colour for thing in things)),
    ]


def _how_many(rng: np.random.Generator, noun: str, number: int) -> Question:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    texts = (f"How many {plural} are there?", f"How many {plural} do you see?", f"Count the {plural}.")
    said = f"there is one {noun}" if number == 1 else f"there are {NUMBERS[number]} {plural}"
    return ask(rng, texts, said, [NUMBERS[number]], _COUNTED, NUMBERS[number])


def _list(rng: np.random.Generator, things: list[Thing]) -> Question:
    ordered = sorted(things, key=lambda thing: thing.centre[0])
    wanted = [word for thing in ordered for word in thing.name.split()]
    texts = ("List the objects from left to right.", "Name all objects from left to right.")
    return ask(rng, texts, phrase(*(thing.name for thing in ordered)), wanted, {*COLOURS, *SHAPES})


def position(rng: np.random.Generator) -> Example:
    """Where things are: relative to each other, or in which corner."""
    return _corner(rng) if rng.random() < 0.4 else _relation(rng)


def _corner(rng: np.random.Generator) -> Example:
    width, height = canvas.random_size(rng)
    corner = pick(rng, _CORNERS)
    length = side(rng, width, height, "small")
    # Within the quarter of the picture that belongs to the corner, with room to the middle.
    left, top = rng.uniform(0, max(1.0, width * 0.4 - length)), rng.uniform(0, max(1.0, height * 0.4 - length))
    if "right" in corner:
        left = width - length - left
    if "bottom" in corner:
        top = height - length - top
    [(colour, shape)] = different_names(rng, 1)
    thing = make_thing(rng, colour, shape, (left, top, left + length, top + length))
    texts = (f"Which corner is the {shape} in?", f"In which corner is the {thing.name}?", f"Where is the {shape}?")
    place = ask(rng, texts, f"it is in the {corner} corner", corner.split(), {"top", "bottom", "left", "right"})
    what = ask(
        rng,
        ("What is in the corner?", f"What is in the {corner} corner?"),
        phrase(thing.name),
        [colour, shape],
        {*COLOURS, *SHAPES},
    )
    return Example("position", (picture_of(rng, width, height, [thing]),), (place, what))


def _relation(rng: np.random.Generator) -> Example:
    while True:
        things, width, height = several(rng, 2, 3)
        pairs = [
            (one, other, relation)
            for one in things
            for other in things
            if one is not other
            for relation, (axis, sign) in _SIDES.items()
            if _beyond(one.box, other.box, axis, sign)
        ]
        if pairs:
            break
    questions = []
    for one, other, relation in choose(rng, pairs, 3):
        if _SIDES[relation][0] == 0:
            text = f"Is the {one.name} left or right of the {other.name}?"
        else:
            text = f"Is the {one.name} above or below the {other.name}?"
        word = relation.split()[0]
        said = f"the {one.name} is {relation} the {other.name}"
        questions.append(ask(rng, (text,), said, [word], {"left", "right", "above", "below"}, word))
    lessons = [*_found(rng, things), *_halves(rng, pick(rng, things), width, height), _list(rng, things)]
    questions += [replace(lesson, lesson=True) for lesson in lessons]
    return Example("position", (picture_of(rng, width, height, things),), tuple(questions))


def _found(rng: np.random.Generator, things: list[Thing]) -> Iterator[Question]:
    """What is true of one among several things: to compare two, one must find each."""
    for thing in choose(rng, things, 2):
        colour, shape = thing.colour, thing.shape
        if sum(other.shape == shape for other in things) == 1:
            said = f"the {shape} is {colour}"
            yield ask(rng, (f"What colour is the {shape}?",), said, [colour], COLOURS, colour)
        elif sum(other.colour == colour for other in things) == 1:
            yield ask(rng, (f"What is the {colour} shape?",), f"it is a {shape}", [shape], SHAPES, shape)


def _halves(rng: np.random.Generator, thing: Thing, width: int, height: int) -> list[Question]:
    x, y = thing.centre
    column, row = "left" if x < width / 2 else "right", "upper" if y < height / 2 else "lower"
    return [
        ask(
            rng,
            (f"Is the {thing.name} in the {one} half or the {other} half?",),
            f"the {thing.name} is in the {half} half",
            [half],
            {one, other},
            half,
        )
        for one, other, half in (("left", "right", column), ("upper", "lower", row))
    ]


def _beyond(one: canvas.Box, other: canvas.Box, axis: int, sign: int) -> bool:
    """Whether ``one`` ends before ``other`` begins, or the other way round, on this axis."""
    return one[axis + 2] < other[axis] if sign > 0 else other[axis + 2] < one[axis]
