"""Ovis 2.5 (https://arxiv.org/abs/2508.11737): patches of any resolution.

Source: ``vllm/transformers_utils/processors/ovis2_5.py`` (0.32).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, VIDEO, Family
from tessera.plan.parameters import Configuration
from tessera.plan.plans import ImagePlan, Size, Unplannable, VideoPlan
from tessera.plan.sizes import patch_sizes
from tessera.plan.smart_resize import MAX_ASPECT

# The processor's own, which no file of a model changes.
_MIN_PIXELS, _MAX_PIXELS = 448 * 448, 1792 * 1792
_MARKS = 2  # a token at the start and one at the end


@dataclass(frozen=True, slots=True)
class Ovis25(Family):
    """Args: as ``vit_config`` names them."""

    name: ClassVar[str] = "ovis2_5"
    models: ClassVar[tuple[str, ...]] = ("ovis2_5",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE, VIDEO})

    patch_size: int
    hidden_stride: int
    temporal_patch_size: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        model = configuration.model
        names = ("patch_size", "hidden_stride", "temporal_patch_size")
        return cls(*(model.whole(f"vit_config.{name}") for name in names))

    def image(self, width: int, height: int) -> ImagePlan:
        """A token for each square of patches."""
        # As a video of one frame, which is repeated until it fills a group of them.
        size, tokens = self._grid(1, width, height)
        return ImagePlan(size=size, embedded=tokens, tokens=tokens)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """In whole squares of patches."""
        return patch_sizes(self.image(width, height).size, width, height, self.patch_size * self.hidden_stride)

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """The same for each group of frames."""
        frames = len(times_s)
        size, tokens = self._grid(frames, width, height)
        return VideoPlan(frames=frames + -frames % self.temporal_patch_size, size=size, embedded=tokens, tokens=tokens)

    def _grid(self, frames: int, width: int, height: int) -> tuple[Size, int]:
        size = self._resized(width, height)
        groups = -(-frames // self.temporal_patch_size)
        patches = groups * (size.width // self.patch_size) * (size.height // self.patch_size)
        return size, patches // self.hidden_stride**2 // self.temporal_patch_size + _MARKS

    def _resized(self, width: int, height: int) -> Size:
        factor = self.patch_size * self.hidden_stride
        if height < factor or width < factor:
            if height < width:
                width, height = round(factor / height * width), factor
            else:
                width, height = factor, round(factor / width * height)
        elif max(height, width) / min(height, width) > MAX_ASPECT:
            width, height = min(width, MAX_ASPECT * height), min(height, MAX_ASPECT * width)
        high, wide = round(height / factor) * factor, round(width / factor) * factor
        if high * wide > _MAX_PIXELS:
            shrink = math.sqrt((height * width) / _MAX_PIXELS)
            high = math.floor(height / shrink / factor) * factor
            wide = math.floor(width / shrink / factor) * factor
        elif high * wide < _MIN_PIXELS:
            grow = math.sqrt(_MIN_PIXELS / (height * width))
            high = math.ceil(height * grow / factor) * factor
            wide = math.ceil(width * grow / factor) * factor
        if not high or not wide:
            raise Unplannable("The image is too long for its width.")
        return Size(wide, high)
