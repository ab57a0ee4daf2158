"""Clips: something moves, changes its colour, or two things come one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from models.nano import canvas
from models.nano.example import CLIP_FPS, Clip, Example, Question
from models.nano.skills.asking import ask, choose, pick
from models.nano.skills.thing import Thing, different_names, make_thing
from models.nano.vocabulary import COLOURS, DIRECTIONS, SHAPES, phrase

_SECONDS = (2, 2, 3, 4)
_VECTORS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_USUAL_SIDE = 224  # pixels at most, of four clips in five

Scene = Callable[[float], list[Thing]]
"""What is in the picture at a time, from 0 (the beginning) to 1 (the end)."""


def video(rng: np.random.Generator, fps: float = CLIP_FPS) -> Example:
    """One clip and what happens in it.

    Args:
        fps: frames per second that are drawn; a multiple of ``CLIP_FPS``. What happens does not depend on it.
    """
    return pick(rng, (moving, moving, changing, appearing))(rng, fps)


def moving(rng: np.random.Generator, fps: float = CLIP_FPS) -> Example:
    """A thing moves in one of four directions."""
    width, height, length = _stage(rng)
    [(colour, shape)] = different_names(rng, 1)
    thing = make_thing(rng, colour, shape, (0, 0, length, length))
    direction = pick(rng, DIRECTIONS)
    dx, dy = _VECTORS[direction]
    room = np.array([width - length, height - length])
    travel = room * (dx, dy) * rng.uniform(0.45, 1.0)
    start = np.maximum(0, -travel) + rng.uniform(0, 1, 2) * (room - np.abs(travel))

    def scene(time: float) -> list[Thing]:
        x, y = start + travel * time
        return [replace(thing, box=(x, y, x + length, y + length), direction=direction)]

    where = f"to the {direction}" if dx else direction
    texts = (
        f"Which way does the {shape} move?",
        f"In which direction does the {shape} move?",
        "Which way does it move?",
        f"Where does the {colour} {shape} go?",
    )
    which = ask(rng, texts, f"it moves {where}", [direction], DIRECTIONS, direction)
    said = f"{phrase(thing.name)} moves {where}"
    what = _describe(rng, said, [colour, shape, direction], {*COLOURS, *SHAPES, *DIRECTIONS})
    return Example("video", (_film(rng, fps, width, height, [thing], scene),), (which, what))


def changing(rng: np.random.Generator, fps: float = CLIP_FPS) -> Example:
    """A thing changes its colour."""
    width, height, length = _stage(rng)
    shape = pick(rng, SHAPES)
    before, after = choose(rng, COLOURS, 2)
    x, y = rng.uniform(0, width - length), rng.uniform(0, height - length)
    one = make_thing(rng, before, shape, (x, y, x + length, y + length))
    other = replace(one, colour=after, shade=canvas.random_colour(rng, after))
    moment = rng.uniform(0.35, 0.65)
    change = ask(
        rng,
        ("How does the colour change?", f"Which colours does the {shape} have?", "What changes?"),
        f"it changes from {before} to {after}",
        [before, after],
        COLOURS,
    )
    first = ask(
        rng,
        (f"What colour is the {shape} at the beginning?", "What is the first colour?"),
        f"it is {before}",
        [before],
        COLOURS,
        before,
    )
    last = ask(
        rng,
        (f"What colour is the {shape} at the end?", "What is the last colour?"),
        f"it is {after}",
        [after],
        COLOURS,
        after,
    )
    said = f"a {shape} changes from {before} to {after}"
    what = _describe(rng, said, [shape, before, after], {*COLOURS, *SHAPES})
    clip = _film(rng, fps, width, height, [one, other], lambda time: [one if time < moment else other])
    return Example("video", (clip,), (change, first, last, what))


def appearing(rng: np.random.Generator, fps: float = CLIP_FPS) -> Example:
    """Two things appear, one after the other."""
    while True:
        width, height = _size(rng)
        lengths = [float(rng.uniform(0.22, 0.45)) * min(width, height) for _ in range(2)]
        boxes = canvas.place(rng, width, height, lengths)
        if boxes is not None:
            break
    names = different_names(rng, 2)
    one, other = (make_thing(rng, *name, box) for name, box in zip(names, boxes, strict=True))
    begin, turn = rng.choice([0.0, 0.2]), rng.uniform(0.35, 0.65)
    stays = rng.random() < 0.5

    def scene(time: float) -> list[Thing]:
        seen = [one] if begin <= time and (time < turn or stays) else []
        return [*seen, other] if time >= turn else seen

    among = {*COLOURS, *SHAPES}
    both = [one.colour, one.shape, other.colour, other.shape]
    order = ask(
        rng,
        ("In which order do the objects appear?", "What appears, in order?"),
        f"first {phrase(one.name)}, then {phrase(other.name)}",
        both,
        among,
    )
    first = ask(rng, ("What appears first?", "What comes first?"), phrase(one.name), both[:2], among)
    last = ask(rng, ("What appears last?", "What comes second?"), phrase(other.name), both[2:], among)
    what = _describe(rng, f"first {phrase(one.name)} appears, then {phrase(other.name)}", both, among)
    return Example("video", (_film(rng, fps, width, height, [one, other], scene),), (order, first, last, what))


def _size(rng: np.random.Generator) -> tuple[int, int]:
    return canvas.random_size(rng, most=_USUAL_SIDE) if rng.random() < 0.8 else canvas.random_size(rng)


def _stage(rng: np.random.Generator) -> tuple[int, int, float]:
    """Width and height of a clip, and the side of the thing in it."""
    width, height = _size(rng)
    return width, height, float(rng.uniform(0.22, 0.45)) * min(width, height)


def _describe(rng: np.random.Generator, said: str, wanted: Sequence[str], among: set[str]) -> Question:
    texts = ("What happens in the video?", "Describe the clip.", "What do you see?", "Describe the video.")
    return ask(rng, texts, said, wanted, among)


def _film(rng: np.random.Generator, fps: float, width: int, height: int, things: list[Thing], scene: Scene) -> Clip:
    """The scene against a background that stands still."""
    count = round(pick(rng, _SECONDS) * fps)
    still = canvas.background(rng, width, height, [thing.shade for thing in things])
    # Drawn once for all frames, so that a clip at another rate has the same traces of compression where frames agree.
    seed = int(rng.integers(2**32))
    frames, regions = [], []
    for index in range(count):
        shown = scene(index / count)
        pixels = still.copy()
        for thing in shown:
            thing.draw(pixels)
        frames.append(canvas.lossy(np.random.default_rng(seed), pixels))
        regions.append(tuple(thing.region for thing in shown))
    return Clip(np.stack(frames), tuple(regions), fps)
