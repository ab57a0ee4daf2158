"""LLaVA-OneVision (https://arxiv.org/abs/2408.03326): as LLaVA-NeXT, with at most nine tiles' worth, and videos.

Source: ``vllm/model_executor/models/llava_onevision.py`` (0.32).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, VIDEO
from tessera.plan.llava import square
from tessera.plan.llava_next import LlavaNext
from tessera.plan.parameters import Configuration
from tessera.plan.plans import Size, VideoPlan

_MOST_TILES = 9  # `anyres_max_9`, which the processor has written in it
_BARELY_MORE = 1.1
_POOLED = 2


@dataclass(frozen=True, slots=True)
class LlavaOnevision(LlavaNext):
    """Args: as of LLaVA-NeXT; ``pool_stride``: patches on a side that become one token of a video."""

    name: ClassVar[str] = "llava_onevision"
    models: ClassVar[tuple[str, ...]] = ("llava_onevision",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE, VIDEO})

    pool_stride: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        model = configuration.model
        stride = model.whole("spatial_pool_stride") if model.has("spatial_pool_stride") else _POOLED
        return cls(*square(model), model.pairs("image_grid_pinpoints"), stride)

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """Each frame as a square, pooled; one token at the end."""
        frames = len(times_s)
        tokens = frames * math.ceil(self.grid_side / self.pool_stride) ** 2 + 1
        return VideoPlan(frames=frames, size=Size(self.tile_size, self.tile_size), embedded=tokens, tokens=tokens)

    def _of_grid(self, columns: int, rows: int) -> int:
        ratio = math.sqrt(columns * rows / (_MOST_TILES * self.grid_side**2))
        if ratio > _BARELY_MORE:
            columns, rows = int(columns // ratio), int(rows // ratio)
        return columns * rows + rows
