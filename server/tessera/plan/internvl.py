"""InternVL 2, 2.5 and 3 (https://arxiv.org/abs/2404.16821): tiles in the image's own shape, and a thumbnail.

Source: ``vllm/transformers_utils/processors/internvl.py`` (0.32).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, VIDEO, Family
from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.plans import Grid, ImagePlan, Size, VideoPlan

_MARKS = 2  # <img> and </img>
# An area above this share of a grid's lets the later of two grids of one shape win.
_FILLED = 0.5
_MOST_TILES = 128


@lru_cache(maxsize=64)
def grids(least: int, most: int) -> tuple[Grid, ...]:
    """All grids of ``least`` to ``most`` tiles, by their number.

    Those of one number stay in the order of a set, as in the source: the last of equal ones may win.
    """
    found = {
        (i, j)
        for n in range(least, most + 1)
        for i in range(1, n + 1)
        for j in range(1, n + 1)
        if least <= i * j <= most
    }
    return tuple(Grid(*each) for each in sorted(found, key=lambda grid: grid[0] * grid[1]))


def closest(candidates: Sequence[Grid], width: int, height: int, tile: int) -> Grid:
    """The grid whose shape is next to the image's."""
    shape, area = width / height, width * height
    best, least = Grid(1, 1), float("inf")
    for grid in candidates:
        difference = abs(shape - grid[0] / grid[1])
        if difference < least:
            best, least = grid, difference
        elif difference == least and area > _FILLED * tile * tile * grid[0] * grid[1]:
            best = grid
    return best


@dataclass(frozen=True, slots=True)
class InternVL(Family):
    """Args: as ``config.json`` names them; ``tile_tokens``: of one tile; ``tile_size``: pixels on its sides."""

    name: ClassVar[str] = "internvl"
    models: ClassVar[tuple[str, ...]] = ("internvl_chat",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE, VIDEO})

    tile_size: int
    tile_tokens: int
    min_tiles: int
    max_tiles: int
    thumbnail: bool

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        model = configuration.model
        tile, patch = model.whole("vision_config.image_size"), model.whole("vision_config.patch_size")
        tokens = int((tile // patch) ** 2 * model.number("downsample_ratio") ** 2)
        least, most = model.whole("min_dynamic_patch"), model.whole("max_dynamic_patch")
        if not tokens or not least <= most <= _MOST_TILES:
            raise UnknownFamily(f"config.json has no tiles that can be: {tokens} tokens, {least} to {most}")
        if not model.flag("dynamic_image_size"):
            least = most = 1
        return cls(tile, tokens, least, most, model.flag("use_thumbnail"))

    def image(self, width: int, height: int) -> ImagePlan:
        """A grid, row by row, then the thumbnail if there is more than one tile."""
        grid = closest(grids(self.min_tiles, self.max_tiles), width, height, self.tile_size)
        thumbnail = self.thumbnail and grid.tiles > 1
        embedded = (grid.tiles + thumbnail) * self.tile_tokens
        size = Size(grid.columns * self.tile_size, grid.rows * self.tile_size)
        return ImagePlan(size=size, grid=grid, thumbnail=thumbnail, embedded=embedded, tokens=embedded + _MARKS)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """All tiles of the grid that the processor would take, were it allowed fewer of them."""
        shape, least = width / height, float("inf")
        for grid in grids(self.min_tiles, self.max_tiles):
            # Equal shapes too: which of them it would be depends on the image's area.
            if (difference := abs(shape - grid[0] / grid[1])) <= least:
                least = difference
                yield Size(grid.columns * self.tile_size, grid.rows * self.tile_size)

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """Each frame as one tile, with its number in front."""
        frames = len(times_s)
        embedded = frames * self.tile_tokens
        return VideoPlan(
            frames=frames,
            size=Size(self.tile_size, self.tile_size),
            embedded=embedded,
            tokens=embedded + _MARKS * frames,
            texts=tuple(f"Frame{i + 1}: " for i in range(frames)),
        )
