"""``smart_resize``: both sides to multiples of a factor, the number of pixels within bounds.

Source: ``transformers/models/qwen2_vl/image_processing_qwen2_vl.py`` and, for videos of Qwen3-VL,
``transformers/models/qwen3_vl/video_processing_qwen3_vl.py`` (5.19).
"""

from __future__ import annotations

import math

from tessera.plan.plans import Size, Unplannable

MAX_ASPECT = 200


def smart_resize(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> Size:
    """Size of an image, or of each frame.

    Raises:
        Unplannable: it is more than 200 times as long as wide.
    """
    return _resized(width, height, 1, 1, factor, min_pixels, max_pixels)


def smart_resize_video(
    width: int, height: int, frames: int, temporal: int, factor: int, min_pixels: int, max_pixels: int
) -> Size:
    """Size of each frame, with bounds for the pixels of all frames together.

    Raises:
        Unplannable: it is more than 200 times as long as wide, or shorter than ``temporal`` frames.
    """
    if frames < temporal:
        raise Unplannable(f"The video has fewer than {temporal} frames.")
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    rounded = round(frames / temporal) * temporal
    return _resized(width, height, frames, rounded, factor, min_pixels, max_pixels)


def _resized(width: int, height: int, frames: int, rounded: int, factor: int, min_pixels: int, max_pixels: int) -> Size:
    if max(height, width) / min(height, width) > MAX_ASPECT:
        raise Unplannable(f"It is more than {MAX_ASPECT} times as long as wide ({width}x{height} pixels).")
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if rounded * high * wide > max_pixels:
        shrink = math.sqrt((frames * height * width) / max_pixels)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif rounded * high * wide < min_pixels:
        grow = math.sqrt(min_pixels / (frames * height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return Size(wide, high)
