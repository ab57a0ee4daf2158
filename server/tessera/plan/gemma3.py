"""Gemma 3 (https://arxiv.org/abs/2503.19786): one square, and crops of long images ("pan and scan").

Source: ``vllm/model_executor/models/gemma3_mm.py`` (0.32): ``get_num_crops`` and ``get_image_repl``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration
from tessera.plan.plans import UNCUT, Grid, ImagePlan, Size
from tessera.plan.sizes import shrunk_sizes

_PAN = "do_pan_and_scan"
_PAN_HOW = (
    "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops", "pan_and_scan_min_ratio_to_activate"
)  # fmt: skip
# Of the processor in transformers, which counts with them whatever the files of a model say.
_DEFAULTS = {_PAN: False, **dict(zip(_PAN_HOW, (256, 4, 1.2), strict=True))}
_BEFORE, _AFTER = "\n\n<start_of_image>", "<end_of_image>\n\n"


@dataclass(frozen=True, slots=True)
class Gemma3(Family):
    """Args: as the processors name them; ``max_crops`` is 0 without pan and scan.

    Line feeds stand at both ends of what is written: those of the text around an image join them to one token. So in
    a prompt it is up to two tokens less.
    """

    name: ClassVar[str] = "gemma3"
    models: ClassVar[tuple[str, ...]] = ("gemma3",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})
    joined: ClassVar[bool] = True
    follows: ClassVar[frozenset[str]] = frozenset({_PAN, *_PAN_HOW})

    tile_size: int
    tile_tokens: int
    max_crops: int
    min_crop_size: int
    min_ratio: float

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the processors, and what the operator asks of them."""
        image = configuration.image
        image.expect("size.width", image.whole("size.height"))
        side, tokens = image.whole("size.height"), configuration.processor.whole("image_seq_length")
        asked = configuration.options
        asked = replace(asked, values={**_DEFAULTS, **asked.values})
        least, most, ratio = _PAN_HOW
        crops = asked.whole(most) if asked.flag(_PAN) else 0
        return cls(side, tokens, crops, asked.whole(least), asked.number(ratio))

    def image(self, width: int, height: int) -> ImagePlan:
        """The whole image, then its crops, with words around them."""
        grid = self._crops(width, height)
        crops = grid.tiles if grid != UNCUT else 0
        embedded = (crops + 1) * self.tile_tokens
        size = Size(grid.columns * self.tile_size, grid.rows * self.tile_size)
        return ImagePlan(
            size=size, grid=grid, thumbnail=crops > 0, embedded=embedded, tokens=embedded, texts=_texts(crops)
        )

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """Where it is just too short for one more crop, or for any."""
        if not self.max_crops:
            return iter(())
        long, short = max(width, height), min(width, height)
        lengths = [(crops + 1) * self.min_crop_size - 1 for crops in range(1, self.max_crops)]
        return shrunk_sizes(
            width, height, iter([(self.min_crop_size - 1) / short, *(length / long for length in lengths)])
        )

    def _crops(self, width: int, height: int) -> Grid:
        long, short = max(width, height), min(width, height)
        if not self.max_crops or long / short < self.min_ratio:
            return UNCUT
        crops = min(floor(long / self.min_crop_size), floor(long / short + 0.5))
        crops = min(self.max_crops, max(2, crops))
        if min(ceil(long / crops), short) < self.min_crop_size:
            return UNCUT
        return Grid(crops, 1) if width >= height else Grid(1, crops)


def _texts(crops: int) -> tuple[str, ...]:
    if not crops:
        return (_BEFORE, _AFTER)
    return (
        f"Here is the original image {_BEFORE}",
        f"{_AFTER} and here are some crops to help you see better {_BEFORE}",
        *[f"{_AFTER} {_BEFORE}"] * (crops - 1),
        _AFTER,
    )
