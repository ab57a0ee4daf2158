"""Ovis 1.6 and 2 (https://arxiv.org/abs/2405.20797): the smallest grid of tiles that covers an image, and the image.

Source: ``vllm/transformers_utils/processors/ovis.py`` and ``vllm/model_executor/models/ovis.py`` (0.32).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.plans import Grid, ImagePlan, Size, Unplannable

_MOST_TILES = 9  # `max_partition`, as the processor calls it
_COVERED = 0.9
_GRIDS = [
    Grid(columns, rows)
    for rows in range(1, _MOST_TILES + 1)
    for columns in range(1, _MOST_TILES + 1)
    if rows * columns <= _MOST_TILES
]
_FRAME = 4  # tokens for the start, the image, the tiles and the end


@dataclass(frozen=True, slots=True)
class Ovis(Family):
    """Args: ``tile_size``: pixels on a side of what the encoder sees; ``tile_tokens``: what it makes of that."""

    name: ClassVar[str] = "ovis"
    models: ClassVar[tuple[str, ...]] = ("ovis",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    tile_size: int
    tile_tokens: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration, and the image processor."""
        model, image = configuration.model, configuration.image
        backbone = "visual_tokenizer_config.backbone_config"
        side = ceil(model.whole(f"{backbone}.image_size") / model.whole(f"{backbone}.patch_size"))
        stride = model.whole("visual_tokenizer_config.hidden_stride")
        tokens = (side // stride) ** 2 - 1
        if side % stride or tokens < 1:
            raise UnknownFamily(f"config.json has {side} patches on a side, in steps of {stride}")
        if image.has("size.shortest_edge"):
            return cls(image.whole("size.shortest_edge"), tokens)
        image.expect("size.width", image.whole("size.height"))
        return cls(image.whole("size.height"), tokens)

    def image(self, width: int, height: int) -> ImagePlan:
        """The image as a tile of its own, then the grid, with a token between its columns and between its rows."""
        grid = self._grid(width, height)
        tiles = grid.tiles + 1 if grid.tiles > 1 else 1
        tokens = tiles * self.tile_tokens + _FRAME
        if grid.tiles > 1:
            tokens += grid.tiles + (grid.columns - 1) * grid.rows + grid.rows - 1
        return ImagePlan(
            size=Size(grid.columns * self.tile_size, grid.rows * self.tile_size),
            grid=grid,
            thumbnail=grid.tiles > 1,
            embedded=tokens,
            tokens=tokens,
        )

    def _grid(self, width: int, height: int) -> Grid:
        """The smallest that covers enough; where none does, the one that covers most."""
        covered = [(grid, self._covered(width, height, grid)) for grid in _GRIDS]
        if any(share > 1 for _, share in covered):
            raise Unplannable("The processor cannot divide an image of this size.")
        good = [each for each in covered if each[1] > _COVERED]
        if good:
            return min(good, key=lambda each: (each[0].tiles, -each[1]))[0]
        return min(covered, key=lambda each: (-each[1], each[0].tiles))[0]

    def _covered(self, width: int, height: int, grid: Grid) -> float:
        return sum(self._seen(*tile) for tile in _tiles(width, height, grid)) / (width * height)

    def _seen(self, width: int, height: int) -> float:
        """Pixels that are left of a tile when its longer side is no more than the encoder's."""
        long, short = max(width, height), float(min(width, height))
        if long > self.tile_size:
            return short / long * self.tile_size * self.tile_size
        return long * short


def _tiles(width: int, height: int, grid: Grid) -> Iterator[tuple[int, int]]:
    """Their sizes, row by row; the last ones take what is left."""
    wide, high = width // grid.columns, height // grid.rows
    for row in range(grid.rows):
        for column in range(grid.columns):
            yield (
                width - column * wide if column == grid.columns - 1 else wide,
                height - row * high if row == grid.rows - 1 else high,
            )
