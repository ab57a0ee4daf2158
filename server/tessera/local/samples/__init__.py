"""Small deterministic media for demonstrations and tests: a red square, a moving blue ball, and three beeps."""

from tessera.local.samples.ball import video
from tessera.local.samples.beeps import audio
from tessera.local.samples.square import image

__all__ = ["audio", "image", "video"]
