"""Pixtral (https://arxiv.org/abs/2410.07073) and Mistral 3: patches of any shape, with a token at the end of each row.

Source: ``vllm/model_executor/models/{pixtral,llava,mistral3}.py`` (0.32): ``PixtralHFEncoderInfo`` and
``Mistral3HFEncoderInfo``. Models in Mistral's own format count with ``mistral-common``; they are not planned here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration
from tessera.plan.plans import ImagePlan, Size, Unplannable
from tessera.plan.sizes import patch_sizes


@dataclass(frozen=True, slots=True)
class Pixtral(Family):
    """Args: ``max_side``: pixels of the longest side; ``patch_size``: pixels on a side of what becomes one token."""

    name: ClassVar[str] = "pixtral"
    models: ClassVar[tuple[str, ...]] = ("llava",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    max_side: int
    patch_size: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        model = configuration.model
        model.expect("vision_config.model_type", "pixtral")
        merge = model.whole("spatial_merge_size") if model.has("spatial_merge_size") else 1
        return cls(model.whole("vision_config.image_size"), model.whole("vision_config.patch_size") * merge)

    def image(self, width: int, height: int) -> ImagePlan:
        """The image within a square of ``max_side``; a token for each patch, and one for each row."""
        ratio = max(width / self.max_side, height / self.max_side)
        if ratio > 1:
            width, height = math.floor(width / ratio), math.floor(height / ratio)
        columns, rows = (width - 1) // self.patch_size + 1, (height - 1) // self.patch_size + 1
        if not columns or not rows:
            raise Unplannable(f"The image is too long for its width: more than {self.max_side} times.")
        size = Size(columns * self.patch_size, rows * self.patch_size)
        return ImagePlan(size=size, embedded=columns * rows, tokens=(columns + 1) * rows)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """In whole patches."""
        return patch_sizes(self.image(width, height).size, width, height, self.patch_size)


@dataclass(frozen=True, slots=True)
class Mistral3(Pixtral):
    """Args: as of Pixtral."""

    name: ClassVar[str] = "mistral3"
    models: ClassVar[tuple[str, ...]] = ("mistral3",)

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration and the image processor, which has the longest side."""
        model = configuration.model
        model.expect("vision_config.model_type", "pixtral")
        patch = model.whole("vision_config.patch_size") * model.whole("spatial_merge_size")
        return cls(configuration.image.whole("size.longest_edge"), patch)
