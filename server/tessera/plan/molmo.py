"""Molmo (https://arxiv.org/abs/2409.17146): overlapping crops, pooled two by two, and the whole image.

Source: ``vllm/model_executor/models/molmo.py`` (0.32).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.plans import Grid, ImagePlan, Size
from tessera.plan.sizes import shrunk_sizes

_POOLED = 2
_TOO_SMALL = 10e9


@lru_cache(maxsize=16)
def _tilings(most: int, step: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Rows and columns, by their number, where those of one number stay in order; and their pixels, down and across."""
    found = [(i, j) for i in range(1, most + 1) for j in range(1, most + 1) if i * j <= most]
    tilings = np.array(sorted(found, key=lambda each: each[0] * each[1]), dtype=np.int32)
    pixels = (tilings * step).astype(np.float32)
    return tilings, pixels[:, 0], pixels[:, 1]


@dataclass(frozen=True, slots=True)
class Molmo(Family):
    """Args: as the image processor names them; ``crop_patches``: patches on a side of a crop."""

    name: ClassVar[str] = "molmo"
    models: ClassVar[tuple[str, ...]] = ("molmo",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    patch_size: int
    crop_patches: int
    max_crops: int
    left_margin: int
    right_margin: int
    whole_columns: int
    whole_rows: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the image processor."""
        image = configuration.image
        high, wide = image.pair("base_image_input_size")
        patch, (left, right) = image.whole("image_patch_size"), image.pair("overlap_margins")
        side = high // patch
        if high != wide or side <= left + right:
            raise UnknownFamily(
                f"the image processor has crops of {wide}x{high} pixels with margins of {left}, {right}"
            )
        whole = image.whole("image_token_length_w"), image.whole("image_token_length_h")
        return cls(patch, side, image.whole("max_crops"), left, right, *whole)

    def image(self, width: int, height: int) -> ImagePlan:
        """The whole image, then its crops in one grid; each with a token at the end of its rows, and two around it."""
        grid = self._tiling(width, height)
        columns, rows = (self._pooled(count) for count in grid)
        embedded = self.whole_columns * self.whole_rows + columns * rows
        tokens = embedded + self.whole_rows + rows + 2 + 2
        margins = (self.left_margin + self.right_margin) * self.patch_size
        size = Size(grid.columns * self._step + margins, grid.rows * self._step + margins)
        return ImagePlan(size=size, grid=grid, thumbnail=True, embedded=embedded, tokens=tokens)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """Where it just fits into a grid of crops."""
        margins = self.patch_size * (self.left_margin + self.right_margin)
        _, high, wide = _tilings(self.max_crops, self._step)
        scales = (min((w + margins) / width, (h + margins) / height) for h, w in zip(high, wide, strict=True))
        return shrunk_sizes(width, height, (float(scale) for scale in scales))

    def _tiling(self, width: int, height: int) -> Grid:
        """The grid that needs the least enlarging, or the least shrinking where none is large enough."""
        margins = self.patch_size * (self.left_margin + self.right_margin)
        tilings, high, wide = _tilings(self.max_crops, self._step)
        # In single precision, as the source: it decides between grids of one shape.
        with np.errstate(divide="ignore"):
            scales = np.minimum(high / np.float32(height - margins), wide / np.float32(width - margins))
        enough = np.where(scales < 1.0, _TOO_SMALL, scales)
        best = scales.argmax() if (scales < 1).all() else enough.argmin()
        rows, columns = tilings[best]
        return Grid(int(columns), int(rows))

    @property
    def _step(self) -> int:
        """Pixels from one crop to the next."""
        return (self.crop_patches - self.left_margin - self.right_margin) * self.patch_size

    def _pooled(self, crops: int) -> int:
        """Tokens along so many crops."""
        if crops == 1:
            patches = _even(self.crop_patches + _POOLED - 1)
        else:
            window = self.crop_patches - self.left_margin - self.right_margin
            ends = (_even(window + margin + _POOLED - 1) for margin in (self.left_margin, self.right_margin))
            patches = sum(ends) + (crops - 2) * _even(window + _POOLED - 1)
        return (patches + 1) // _POOLED


def _even(patches: int) -> int:
    return patches // _POOLED * _POOLED
