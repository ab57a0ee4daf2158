"""LLaVA 1.5 (https://arxiv.org/abs/2310.03744): an image is one square, whatever it was.

Source: ``vllm/model_executor/models/{llava,clip,siglip}.py`` and ``vision.py`` (0.32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, Family
from tessera.plan.parameters import Configuration, Parameters, UnknownFamily
from tessera.plan.plans import ImagePlan, Size

# By encoder, the tokens that it makes besides those of the patches.
_CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
_DROPPED = {"default": 1, "full": 0}


@dataclass(frozen=True, slots=True)
class Llava(Family):
    """Args: ``tile_size``: pixels of the square; ``grid_side``: patches on it; ``base_tokens``: of the square."""

    name: ClassVar[str] = "llava"
    models: ClassVar[tuple[str, ...]] = ("llava",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE})

    tile_size: int
    grid_side: int
    base_tokens: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration."""
        return cls(*square(configuration.model))

    def image(self, width: int, height: int) -> ImagePlan:
        """The same for every image."""
        size = Size(self.tile_size, self.tile_size)
        return ImagePlan(size=size, embedded=self.base_tokens, tokens=self.base_tokens)


def square(model: Parameters) -> tuple[int, int, int]:
    """Pixels on a side of the encoder's square, patches on a side, and tokens that are taken of it."""
    kind, strategy = model.text("vision_config.model_type"), model.text("vision_feature_select_strategy")
    if kind not in _CLASS_TOKENS or strategy not in _DROPPED:
        raise UnknownFamily(f"config.json has an encoder that is not counted here: {kind}, {strategy}")
    tile, patch = model.whole("vision_config.image_size"), model.whole("vision_config.patch_size")
    side = tile // patch
    tokens = side**2 + _CLASS_TOKENS[kind] - _DROPPED[strategy]
    if tokens < 1:
        raise UnknownFamily(f"config.json has an image_size of {tile} with patches of {patch} pixels")
    return tile, side, tokens
