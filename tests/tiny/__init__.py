"""Checkpoints as small as vLLM loads, made on the spot: configuration, tokenizer and processor; no weights.

vLLM fills them with random numbers itself (``--load-format dummy``), so that nothing is downloaded and an answer means
nothing. What they are for is what stands in front of the model: its processor, and how many tokens that makes of media.
"""

from tests.tiny.checkpoints import ENGINE_ARGS, MODELS, make

__all__ = ["ENGINE_ARGS", "MODELS", "make"]
