"""A tiny Qwen2.5-Omni thinker with random weights, for tests and demonstrations without a GPU or a network."""

from models.tiny.checkpoint import DEFAULT_SEED, build, is_complete

__all__ = ["DEFAULT_SEED", "build", "is_complete"]
