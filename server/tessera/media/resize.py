"""Images as large as the model sees them: what its processor would take away is neither stored nor sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from PIL import Image

SMART_RESIZE = "smart_resize"
"""The rule of Qwen2-VL's image processor, which most of its family share (``transformers.models.qwen2_vl``)."""

# The processor refuses what is longer than this many times its width.
_MAX_ASPECT = 200


@dataclass(frozen=True, slots=True)
class ImageResize:
    """How a model's processor resizes every image: both sides to multiples of ``factor``, within bounds.

    Args:
        factor: pixels on a side of what becomes one token: patch size times merge size.
        min_pixels: smaller images are enlarged to this.
        max_pixels: larger images are made smaller than this.
        rule: the rule's name; there is one so far.
    """

    factor: int
    min_pixels: int
    max_pixels: int
    rule: str = SMART_RESIZE

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self | None:
        """The rule that a worker announced; None where there is none, or one that a newer worker knows."""
        if value is None or value.get("rule") != SMART_RESIZE:
            return None
        return cls(value["factor"], value["min_pixels"], value["max_pixels"])

    def shrunk(self, width: int, height: int) -> tuple[int, int] | None:
        """Width and height that the processor gives an image; None where it does not make it smaller.

        None too where it would resize the result again: then only the processor itself can do what it does.
        """
        size = self._resized(width, height)
        if size is None or size == (width, height) or size[0] > width or size[1] > height:
            return None
        return size if self._resized(*size) == size else None

    def apply(self, picture: Image.Image) -> Image.Image:
        """The picture as the processor would make it smaller; itself, where it would not.

        Pillow's bicubic filter is the processor's but for the rounding: the processor computes with weights of 16
        bits, so that about one value in 250 differs by one level.
        """
        size = self.shrunk(*picture.size)
        return picture if size is None else picture.resize(size, Image.Resampling.BICUBIC)

    def _resized(self, width: int, height: int) -> tuple[int, int] | None:
        if max(width, height) > _MAX_ASPECT * min(width, height):
            return None
        sides = [round(side / self.factor) * self.factor for side in (width, height)]
        if math.prod(sides) > self.max_pixels:
            scale = math.sqrt(width * height / self.max_pixels)
            sides = [max(self.factor, math.floor(side / scale / self.factor) * self.factor) for side in (width, height)]
        elif math.prod(sides) < self.min_pixels:
            return None  # enlarged
        return sides[0], sides[1]
