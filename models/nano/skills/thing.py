"""A coloured shape: how it is drawn, and how it is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.nano import canvas
from models.nano.example import Picture, Pixels, Region
from models.nano.skills.asking import choose, pick
from models.nano.vocabulary import COLOURS, ORDINALS, SHAPES

SMALL, BIG = (0.2, 0.36), (0.48, 0.86)  # side of a thing's box, as a part of the picture's shorter side
_TURN = 9.0  # degrees


@dataclass(frozen=True)
class Thing:
    """One object: its colour's name and shade, its shape, the square around it in pixels, and where it moves, if so."""

    colour: str
    shade: canvas.Rgb
    shape: str
    box: canvas.Box
    angle: float
    direction: str = ""

    @property
    def name(self) -> str:
        """Such as "red square"."""
        return f"{self.colour} {self.shape}"

    @property
    def centre(self) -> tuple[float, float]:
        """Of its box, in pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def region(self) -> Region:
        """Where it is, for the labels."""
        moving = (f"moving {self.direction}",) if self.direction else ()
        return Region(self.box, (self.colour, self.shape, *moving))

    def draw(self, pixels: Pixels) -> Pixels:
        """``pixels`` with it."""
        return canvas.draw_shape(pixels, self.shape, self.shade, self.box, self.angle)


def make_thing(rng: np.random.Generator, colour: str, shape: str, box: canvas.Box) -> Thing:
    """A thing of a random shade, a little turned."""
    return Thing(colour, canvas.random_colour(rng, colour), shape, box, float(rng.uniform(-_TURN, _TURN)))


def different_names(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Colour and shape of ``count`` things, no two alike."""
    names = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    return choose(rng, names, count)


def side(rng: np.random.Generator, width: int, height: int, size: str = "") -> float:
    """Side of a thing's box in pixels."""
    least, most = {"small": SMALL, "big": BIG}.get(size, (SMALL[0], BIG[1]))
    return float(rng.uniform(least, most)) * min(width, height)


def picture_of(rng: np.random.Generator, width: int, height: int, things: list[Thing]) -> Picture:
    """The things on a background."""
    pixels = canvas.background(rng, width, height, [thing.shade for thing in things])
    for thing in things:
        thing.draw(pixels)
    return Picture(canvas.lossy(rng, pixels), tuple(_regions(things)))


def _regions(things: list[Thing]) -> Iterator[Region]:
    """Where the things are, each also with its place among the others."""
    from_left = sorted(things, key=lambda thing: thing.centre[0])
    from_top = sorted(things, key=lambda thing: thing.centre[1])
    for thing in things:
        columns, rows = ORDINALS[from_left.index(thing)], ORDINALS[from_top.index(thing)]
        yield replace(thing.region, labels=(*thing.region.labels, f"{columns} from the left", f"{rows} from the top"))


def one_thing(rng: np.random.Generator, size: str = "", **size_limits: int) -> tuple[Thing, Picture]:
    """A picture of one thing, anywhere in it."""
    width, height = canvas.random_size(rng, **size_limits)
    length = side(rng, width, height, size)
    left, top = rng.uniform(0, width - length), rng.uniform(0, height - length)
    colour, shape = pick(rng, COLOURS), pick(rng, SHAPES)
    thing = make_thing(rng, colour, shape, (left, top, left + length, top + length))
    return thing, picture_of(rng, width, height, [thing])
