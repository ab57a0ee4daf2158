"""Which frames of a video the model sees: vLLM's rules, so that its answers are the same as behind its own loader.

The rules are those of vLLM 0.32 (``vllm/multimodal/video.py``), the names those of its loader registry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

# Most frames of the longest videos that models with these rules are made for.
MOST_FRAMES = 768
_QWEN_MIN_FRAMES = 4
_QWEN_MAX_FPS = 30.0
_QWEN_FPS = 2.0
_QWEN2_TEMPORAL_PATCH = 2

Sampler = Callable[[int, float, int, float | None], list[int]]
"""(total frames, frames per second, most frames, sampled frames per second or None) -> sorted frame indices"""


def _opencv(total: int, fps: float, max_frames: int, target_fps: float | None) -> list[int]:
    """Evenly spread, ends included: vLLM's default loader (``VideoBackend``)."""
    count = min(max_frames, total)
    if target_fps is not None:
        count = min(count, math.floor(total / fps * target_fps))
    count = max(1, count)
    if count == total:
        return list(range(total))
    indices: list[int] = np.linspace(0, total - 1, count, dtype=int).tolist()
    return indices


def _qwen2_vl(total: int, fps: float, max_frames: int, target_fps: float | None) -> list[int]:
    """A fixed rate, an even number of frames (``Qwen2VLVideoBackend``: Qwen2-VL, Qwen2.5-VL, Qwen2.5- and 3-Omni)."""
    patch = _QWEN2_TEMPORAL_PATCH
    most = min(max_frames, MOST_FRAMES, total) // patch * patch
    rate = min(_QWEN_FPS if target_fps is None else target_fps, _QWEN_MAX_FPS)
    wanted = min(max(total / fps * rate, _QWEN_MIN_FRAMES), most, total)
    # A video of one frame divides by zero in vLLM; the processor repeats a lone frame to fill a temporal patch.
    count = max(1, math.floor(wanted / patch) * patch)
    return sorted(set(_arange_float32(total, total / count).tolist()))


def _qwen3_vl(total: int, fps: float, max_frames: int, target_fps: float | None) -> list[int]:
    """A fixed rate, rounded to the nearest frame (``Qwen3VLVideoBackend``)."""
    rate = min(_QWEN_FPS if target_fps is None else target_fps, _QWEN_MAX_FPS)
    most = min(max_frames, MOST_FRAMES)
    count = min(max(int(total / fps * rate), _QWEN_MIN_FRAMES), most, total)
    indices: list[int] = np.linspace(0, total - 1, count).round().astype(int).tolist()
    return indices


def _arange_float32(total: int, step: float) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """``torch.arange(0, total, step).int()`` clamped to the last frame, without torch.

    Torch rounds the first value of each vector of 8 lanes to float32 before it adds the steps, in pairs of
    vectors, and computes the rest one by one. A frame index next to an integer depends on it.
    """
    lanes, size = 8, math.ceil(total / step)
    index = np.arange(size)
    values = (index * step).astype(np.float32)
    vectors = index[: size // (2 * lanes) * (2 * lanes)]
    base = (vectors // lanes * lanes * step).astype(np.float32).astype(np.float64)
    values[: len(vectors)] = base + vectors % lanes * step
    return np.minimum(values.astype(np.int32), np.int32(total - 1))


SAMPLERS: Mapping[str, Sampler] = MappingProxyType({"opencv": _opencv, "qwen2_vl": _qwen2_vl, "qwen3_vl": _qwen3_vl})


def sample(total: int, fps: float, *, max_frames: int, target_fps: float | None, rule: str | None) -> list[int]:
    """Sorted indices of the frames to decode, at least one and at most ``max_frames``.

    Args:
        total: frames in the video, at least 1.
        fps: frames per second of the video, above 0.
        max_frames: most frames to take.
        target_fps: frames to take per second of video, or None.
        rule: a name in ``SAMPLERS``; None: ``opencv`` without ``target_fps``, ``qwen2_vl`` with it.
    """
    return SAMPLERS[_name(rule, target_fps)](total, fps, max_frames, target_fps)


def takes_all(count: int, *, max_frames: int, target_fps: float | None, rule: str | None) -> bool:
    """Whether the rule takes all of ``count`` frames, whenever they are shown; other arguments as of ``sample``."""
    return count <= max_frames and target_fps is None and _name(rule, target_fps) == "opencv"


def by_rate(target_fps: float | None, rule: str | None) -> bool:
    """Whether the rule takes frames at a rate; arguments as of ``sample``."""
    return _name(rule, target_fps) != "opencv"


def _name(rule: str | None, target_fps: float | None) -> str:
    return rule or ("opencv" if target_fps is None else "qwen2_vl")
