"""Ovis 1.6 and 2 (https://arxiv.org/abs/2405.20797): the smallest grid of tiles that covers an image, and the image.

Source: ``vllm/transformers_utils/processors/ovis.py`` and ``vllm/model_executor/models/ovis.py`` (0.32).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.plans import Grid, ImagePlan, Size
from tessera.plan.sizes import shrunk_sizes

_MOST_TILES = 9  # `max_partition`, as the processor calls it
_COVERED = 0.9
_GRIDS = sorted(
    (
        Grid(columns, rows)
        for rows in range(1, _MOST_TILES + 1)
        for columns in range(1, _MOST_TILES + 1)
        if rows * columns <= _MOST_TILES
    ),
    key=lambda grid: grid.tiles,
)
_TILES = [(grid, grid.tiles) for grid in _GRIDS]
_NUMBERS = [grid.tiles for grid in _GRIDS]
_CLOSE = 1e-9  # shares that may be one
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

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """Where it just fits into a grid."""
        side = self.tile_size
        scales = (min(grid.columns * side / width, grid.rows * side / height) for grid in _GRIDS)
        return shrunk_sizes(width, height, scales)

    def _grid(self, width: int, height: int) -> Grid:
        """The smallest that covers enough; where none does, the one that covers most."""
        area, tile = width * height, self.tile_size**2
        good, best, enough = None, _COVERED, _MOST_TILES
        # No tile shows more than the encoder sees.
        for grid, tiles in _TILES[bisect_left(_NUMBERS, (_COVERED - _CLOSE) * area / tile) :]:
            if tiles > enough:
                break
            share = self._about(width, height, grid) / area
            if share > best - _CLOSE and (exact := self._share(width, height, grid)) > best:
                good, best, enough = grid, exact, tiles
        return good or self._largest(width, height)

    def _largest(self, width: int, height: int) -> Grid:
        """The first of those that cover most."""
        area, tile = width * height, self.tile_size**2
        found, most = _GRIDS[-1], -1.0
        for grid, tiles in reversed(_TILES):
            if tiles * tile < (most - _CLOSE) * area:
                break
            share = self._about(width, height, grid) / area
            if share > most + _CLOSE or (
                share > most - _CLOSE and self._share(width, height, grid) >= self._share(width, height, found)
            ):
                found, most = grid, share
        return found

    def _about(self, width: int, height: int, grid: Grid) -> float:
        """Pixels that are left of all tiles when the longer side of each is no more than the encoder's.

        But for the rounding of their sum, which costs much and hardly ever matters.
        """
        columns, rows = grid
        wide, high, side = width // columns, height // rows, self.tile_size
        last, below = width - (columns - 1) * wide, height - (rows - 1) * high
        tile = _shrunk(wide, high, side)
        right = tile if last == wide else _shrunk(last, high, side)
        lower = tile if below == high else _shrunk(wide, below, side)
        corner = _shrunk(last, below, side)
        return (tile * (columns - 1) + right) * (rows - 1) + lower * (columns - 1) + corner

    def _share(self, width: int, height: int, grid: Grid) -> float:
        """The same, exactly, as a share of the image."""
        columns, rows = grid
        wide, high = width // columns, height // rows
        # The last tiles take what is left. Added up row by row, as the source does.
        last, below = width - (columns - 1) * wide, height - (rows - 1) * high
        side = self.tile_size
        row = [_shrunk(wide, high, side)] * (columns - 1) + [_shrunk(last, high, side)]
        bottom = [_shrunk(wide, below, side)] * (columns - 1) + [_shrunk(last, below, side)]
        return sum(row * (rows - 1) + bottom) / (width * height)


def _shrunk(width: int, height: int, side: int) -> float:
    long, short = (width, height) if width > height else (height, width)
    return short / long * side * side if long > side else long * short
