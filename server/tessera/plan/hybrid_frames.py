"""Giraffe's hybrid-resolution frames (https://arxiv.org/abs/2412.12735): of each group of frames, one in full."""

from __future__ import annotations

GROUP, TOKENS, SHRINK = 4, 240, 3


def hybrid_frame_tokens(frames: int, *, group: int = GROUP, tokens: int = TOKENS, shrink: int = SHRINK) -> list[int]:
    """Tokens of each frame.

    Args:
        frames: how many there are.
        group: frames of which the first one is sent in full.
        tokens: of a frame in full.
        shrink: how many times fewer the others have.
    """
    return [tokens if i % group == 0 else tokens // shrink for i in range(frames)]
