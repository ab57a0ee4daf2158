"""NVLM-D (https://arxiv.org/abs/2409.11402): tiles as InternVL's, each with its number written in front.

Source: ``vllm/transformers_utils/processors/nvlm_d.py`` and ``vllm/model_executor/models/nvlm_d.py`` (0.32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.internvl import InternVL
from tessera.plan.parameters import Configuration
from tessera.plan.plans import ImagePlan, VideoPlan


@dataclass(frozen=True, slots=True)
class NVLM(InternVL):
    """Args: as of InternVL."""

    name: ClassVar[str] = "nvlm_d"
    models: ClassVar[tuple[str, ...]] = ("NVLM_D",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        # Without a thumbnail the processor leaves a tile out of the prompt.
        configuration.model.expect("use_thumbnail", True)
        return super(NVLM, cls).read(configuration)

    def image(self, width: int, height: int) -> ImagePlan:
        """The tags are text between the tiles; only an image of one tile is nothing but its thumbnail."""
        plan = super(NVLM, self).image(width, height)
        tags = [f"<tile_{i + 1}>" for i in range(plan.grid.tiles)] if plan.thumbnail else []
        tags.append("<tile_global_thumbnail>")
        tags[0] = "<Image>" + tags[0]
        return replace(plan, tokens=plan.embedded, texts=(*tags, "</Image>", "\n"))

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """It takes none."""
        return Family.video(self, times_s, width, height)
