"""Small deterministic media for demonstrations and tests: a red square, a moving blue ball, and three beeps."""

from models.samples.ball import video
from models.samples.beeps import audio
from models.samples.square import image

__all__ = ["audio", "image", "video"]
