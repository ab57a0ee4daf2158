"""Idefics3 (https://arxiv.org/abs/2408.12637) and SmolVLM: rows of square tiles, each named, then the whole image.

Source: ``transformers/models/idefics3/image_processing_idefics3.py`` (5.19) and, for what is written,
``vllm/model_executor/models/idefics3.py`` (0.32), ``get_image_repl``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration
from tessera.plan.plans import Grid, ImagePlan, Size

_LARGEST = 4096  # MAX_IMAGE_SIZE of the processor
_FAKE, _WHOLE = "<fake_token_around_image>", "<global-img>"


@dataclass(frozen=True, slots=True)
class Idefics3(Family):
    """Args: ``longest_side``: pixels that an image is resized to; ``tile_size``: of a tile; ``tile_tokens``: of one."""

    name: ClassVar[str] = "idefics3"
    models: ClassVar[tuple[str, ...]] = ("idefics3", "smolvlm")
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    longest_side: int
    tile_size: int
    tile_tokens: int
    split: bool

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the image processor, and the processor that has the tokens of a tile."""
        image = configuration.image
        image.expect("do_resize", True)
        tokens = configuration.processor.whole("image_seq_len")
        return cls(
            image.whole("size.longest_edge"),
            image.whole("max_image_size.longest_edge"),
            tokens,
            image.flag("do_image_splitting"),
        )

    def image(self, width: int, height: int) -> ImagePlan:
        """A tile for each square that the resized image touches; the whole one alone where that is one."""
        grid = self._grid(width, height)
        if grid is None:
            size = Size(self.tile_size, self.tile_size)
            return ImagePlan(
                size=size, embedded=self.tile_tokens, tokens=self.tile_tokens, texts=(_FAKE + _WHOLE, _FAKE)
            )
        embedded = (grid.tiles + 1) * self.tile_tokens
        return ImagePlan(
            size=Size(grid.columns * self.tile_size, grid.rows * self.tile_size),
            grid=grid,
            thumbnail=True,
            embedded=embedded,
            tokens=embedded,
            texts=tuple(_texts(grid)),
        )

    def fewer(self) -> list[dict[str, Any]]:
        """An image is enlarged to its longest side, however small it is; so that has to be told."""
        if not self.split:
            return []
        sides = range(self.tile_size, min(self.longest_side, _LARGEST), self.tile_size)
        return [{"size": {"longest_edge": side}} for side in sides]

    def told(self, options: Mapping[str, Any]) -> Self:
        """Another longest side."""
        return replace(self, longest_side=options["size"]["longest_edge"]) if "size" in options else self

    def _grid(self, width: int, height: int) -> Grid | None:
        if not self.split:
            return None
        width, height = _below(*_rescaled(width, height, self.longest_side))
        grid = Grid(math.ceil(width / self.tile_size), math.ceil(height / self.tile_size))
        return grid if grid.tiles > 1 else None


def _texts(grid: Grid) -> Iterator[str]:
    before = ""
    for row in range(grid.rows):
        for column in range(grid.columns):
            yield f"{before}{_FAKE}<row_{row + 1}_col_{column + 1}>"
            before = ""
        before = "\n"
    yield f"\n\n{_FAKE}{_WHOLE}"
    yield _FAKE


def _rescaled(width: int, height: int, longest: int) -> tuple[int, int]:
    shape = width / height
    if width >= height:
        width, height = longest, int(longest / shape)
        height += height % 2
    else:
        width, height = int(longest * shape), longest
        width += width % 2
    return max(width, 1), max(height, 1)


def _below(width: int, height: int) -> tuple[int, int]:
    shape = width / height
    if width >= height and width > _LARGEST:
        width, height = _LARGEST, int(_LARGEST / shape)
    elif height > width and height > _LARGEST:
        width, height = int(_LARGEST * shape), _LARGEST
    return max(width, 1), max(height, 1)
