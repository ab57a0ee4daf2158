"""Qwen3-VL (https://arxiv.org/abs/2511.21631): as Qwen2-VL, but a time is written in front of each pair of frames.

Source: ``transformers/models/qwen3_vl/video_processing_qwen3_vl.py`` (5.19) and, for what is written,
``vllm/model_executor/models/qwen3_vl.py`` (0.32), ``get_video_repl``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tessera.plan.plans import Unplannable, VideoPlan
from tessera.plan.qwen_vl import QwenVL
from tessera.plan.smart_resize import smart_resize_video

_LEAST_OVER_MINIMUM = 1.05
_MARKS = 2  # <|vision_start|> and <|vision_end|> around each pair of frames


@dataclass(frozen=True, slots=True)
class Qwen3VL(QwenVL):
    """Args: as of Qwen2-VL; bounds of a video are those of all its frames together."""

    name: ClassVar[str] = "qwen3_vl"
    models: ClassVar[tuple[str, ...]] = ("qwen3_vl", "qwen3_vl_moe")

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """Each pair of frames as an image, with the middle of their times in front of it."""
        least, most, temporal = self.video_min_pixels, self.video_max_pixels, self.temporal_patch_size
        frames = len(times_s)
        if frames < temporal:
            raise Unplannable(f"The video has fewer than {temporal} frames.")
        if self.video_cap_tokens:
            ceiling = self.video_cap_tokens * self.factor * self.factor
            most = max(min(ceiling, most // frames), int(least * _LEAST_OVER_MINIMUM)) * frames
        size = smart_resize_video(width, height, frames, temporal, self.factor, least, most)
        times = [*times_s, *[times_s[-1]] * (-frames % temporal)]
        groups = len(times) // temporal
        embedded = groups * (size.width // self.factor) * (size.height // self.factor)
        middles = [(times[i] + times[i + temporal - 1]) / 2 for i in range(0, len(times), temporal)]
        return VideoPlan(
            frames=len(times),
            size=size,
            embedded=embedded,
            tokens=embedded + _MARKS * groups,
            texts=tuple(f"<{middle:.1f} seconds>" for middle in middles),
        )
