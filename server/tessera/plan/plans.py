"""What becomes of a picture, a video or a sound in front of a model: how large, in how many tiles, how many tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Unplannable(ValueError):
    """The model's processor refuses an item of this size or length; the message says why."""


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int


class Grid(NamedTuple):
    """Tiles across and down."""

    columns: int
    rows: int

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.columns * self.rows


UNCUT = Grid(1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every item has.

    Attributes:
        embedded: tokens that carry the item: what the model's encoder makes.
        tokens: tokens that stand in the prompt in place of the item: ``embedded`` and special tokens between them.
        texts: what the processor writes between them as text, piece by piece. Each piece is encoded alone, since
            special tokens stand around it; their tokens come on top of ``tokens``.
    """

    embedded: int
    tokens: int
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan(Plan):
    """An image.

    Attributes:
        size: what the processor resizes it to: all tiles together, without the thumbnail.
        grid: how it is cut; one tile: it is not.
        thumbnail: the whole image goes along as a tile of its own.
    """

    size: Size
    grid: Grid = UNCUT
    thumbnail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan(Plan):
    """A video.

    Attributes:
        frames: frames that the encoder gets; a last one may stand there twice.
        size: of each of them.
        sound: tokens of its sound that stand between its own, as part of ``embedded``.
    """

    frames: int
    size: Size
    sound: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPlan(Plan):
    """A sound.

    Attributes:
        heard: samples that the model hears; the processor cuts off the rest.
    """

    heard: int
