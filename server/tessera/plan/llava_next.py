"""LLaVA-NeXT (https://llava-vl.github.io/blog/2024-01-30-llava-next/): the whole image, and tiles of it.

Source: ``vllm/model_executor/models/llava_next.py`` (0.32) and ``select_best_resolution`` of
``transformers/image_processing_utils.py`` (5.19).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from tessera.plan.family import IMAGE
from tessera.plan.llava import Llava, square
from tessera.plan.parameters import Configuration
from tessera.plan.plans import Grid, ImagePlan, Size
from tessera.plan.sizes import shrunk_sizes


def best_resolution(width: int, height: int, candidates: Sequence[tuple[int, int]]) -> Size:
    """The one that keeps most of the image's pixels, and of these the one that wastes least.

    Args:
        candidates: height and width each, as ``image_grid_pinpoints`` has them; at least one.
    """
    best, most, least_waste, area = Size(0, 0), 0, math.inf, width * height
    for high, wide in candidates:
        scale, down = wide / width, high / height
        if down < scale:
            scale = down
        kept = int(width * scale) * int(height * scale)
        if kept > area:
            kept = area
        if kept < most:
            continue
        waste = wide * high - kept
        if kept > most or waste < least_waste:
            best, most, least_waste = Size(wide, high), kept, waste
    return best


@dataclass(frozen=True, slots=True)
class LlavaNext(Llava):
    """Args: as of LLaVA; ``resolutions``: height and width each, pixels."""

    name: ClassVar[str] = "llava_next"
    models: ClassVar[tuple[str, ...]] = ("llava_next",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    resolutions: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        model = configuration.model
        return cls(*square(model), model.pairs("image_grid_pinpoints"))

    def image(self, width: int, height: int) -> ImagePlan:
        """The whole image as a tile, the others without their padding, and a token at the end of each row of them."""
        size = best_resolution(width, height, self.resolutions)
        grid = Grid(size.width // self.tile_size, size.height // self.tile_size)
        columns, rows = self._without_padding(width, height, grid.columns * self.grid_side, grid.rows * self.grid_side)
        tokens = self.base_tokens + self._of_grid(columns, rows)
        return ImagePlan(size=size, grid=grid, thumbnail=True, embedded=tokens, tokens=tokens)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """Where it just fits into one of the resolutions."""
        return shrunk_sizes(width, height, (min(wide / width, high / height) for high, wide in self.resolutions))

    def _of_grid(self, columns: int, rows: int) -> int:
        return columns * rows + rows

    @staticmethod
    def _without_padding(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
        if width / height > columns / rows:
            kept = int(round(height * (columns / width), 7))
            return columns, rows - (rows - kept) // 2 * 2
        kept = int(round(width * (rows / height), 7))
        return columns - (columns - kept) // 2 * 2, rows
