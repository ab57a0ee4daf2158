"""What this machine's CPU can compute with."""

from __future__ import annotations


def computes_in_bfloat16() -> bool:
    """Whether the CPU has instructions for it. Elsewhere it is emulated: float32 is many times as fast."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
