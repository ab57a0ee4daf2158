"""Phi-4 multimodal (https://arxiv.org/abs/2503.01743): tiles without their padding, the whole image; and sounds.

Source: ``vllm/model_executor/models/phi4mm.py`` (0.32); its tiles are chosen as InternVL's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

from tessera.plan.family import AUDIO, IMAGE, Family
from tessera.plan.internvl import closest
from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.plans import AudioPlan, Grid, ImagePlan, Size, Unplannable
from tessera.plan.sizes import shrunk_sizes

# Of the one encoder that there is, as the source has them.
_ENCODER = "siglip-so400m-patch14-448"
_TILE, _PATCH, _MERGED = 448, 14, 2
_WHOLE = _TILE // _PATCH // _MERGED
_RATE_HZ = 16000
# Samples at 16 kHz.
_WINDOW, _HOP = 400, 160
_MOST_TILES = 128


@lru_cache(maxsize=16)
def _grids(most: int) -> tuple[Grid, ...]:
    """As of InternVL; but those of one number stay in the order that this processor's set has."""
    found = {(i, j) for i in range(1, most + 1) for j in range(1, most + 1) if i * j <= most}
    return tuple(Grid(*each) for each in sorted(found, key=lambda grid: grid[0] * grid[1]))


@dataclass(frozen=True, slots=True)
class Phi4MM(Family):
    """Args: ``max_tiles``: ``dynamic_hd``; ``audio_compression``: frames of the spectrogram to a token."""

    name: ClassVar[str] = "phi4mm"
    models: ClassVar[tuple[str, ...]] = ("phi4mm",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE, AUDIO})

    max_tiles: int
    audio_compression: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the model's configuration and its processors."""
        model = configuration.model
        if model.has("img_processor"):
            model.expect("img_processor", _ENCODER)
        configuration.audio.expect("sampling_rate", _RATE_HZ)
        most = configuration.image.whole("dynamic_hd")
        if most > _MOST_TILES:
            raise UnknownFamily(f"the image processor has {most} tiles")
        return cls(most, model.whole("embd_layer.audio_embd_layer.compression_rate"))

    def image(self, width: int, height: int) -> ImagePlan:
        """The whole image and its tiles, with a token at the end of each row, and one between the two."""
        grid = self._grid(width, height)
        size = Size(grid.columns * _TILE, grid.rows * _TILE)
        columns, rows = _without_padding(width, height, size)
        tokens = _WHOLE * _WHOLE + 1 + columns * rows + rows + _WHOLE
        return ImagePlan(size=size, grid=grid, thumbnail=True, embedded=tokens, tokens=tokens)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """Where it just fits into one column or one row fewer, and so on."""
        sides = [(width, math.ceil(width / _TILE)), (height, math.ceil(height / _TILE))]
        counts = [(side, min(tiles, self.max_tiles)) for side, tiles in sides]
        return shrunk_sizes(
            width, height, (_TILE * tiles / side for side, most in counts for tiles in range(1, most + 1))
        )

    def audio(self, samples: int) -> AudioPlan:
        """All of it, however long."""
        frames = (samples - _WINDOW) // _HOP + 1
        if frames < 1:
            raise Unplannable(f"The sound is too short: {samples} samples give no token.")
        tokens = -(-frames // self.audio_compression)
        return AudioPlan(heard=samples, embedded=tokens, tokens=tokens)

    def _grid(self, width: int, height: int) -> Grid:
        grid = Grid(math.ceil(width / _TILE), math.ceil(height / _TILE))
        if grid.tiles <= self.max_tiles:
            return grid
        return closest(_grids(self.max_tiles), width, height, _TILE)


def _without_padding(width: int, height: int, size: Size) -> tuple[int, int]:
    """Merged patches across and down that show anything of the image."""
    across, down = size.width / width, size.height / height
    wide, high = size.width // _PATCH, size.height // _PATCH
    if across < down:
        high -= (size.height - int(height * across)) // _PATCH
    else:
        wide -= (size.width - int(width * down)) // _PATCH
    return -(-wide // _MERGED), -(-high // _MERGED)
