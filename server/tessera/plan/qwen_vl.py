"""Qwen2-VL and Qwen2.5-VL (https://arxiv.org/abs/2409.12191): patches of any resolution, merged two by two.

Source: ``transformers/models/qwen2_vl/{image,video}_processing_qwen2_vl.py`` (5.19), whose grids vLLM counts
(``vllm/model_executor/models/qwen2_vl.py``, 0.32).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from tessera.plan.family import IMAGE, VIDEO, Family
from tessera.plan.parameters import Configuration, Parameters
from tessera.plan.plans import ImagePlan, Size, VideoPlan
from tessera.plan.sizes import patch_sizes
from tessera.plan.smart_resize import smart_resize

# Of what `cap_pixels_per_frame` calls the longest video, frames get this much.
_SHARE_OF_CAP = 0.9
_LEAST_OVER_MINIMUM = 1.05


@dataclass(frozen=True, slots=True)
class QwenVL(Family):
    """Args: as the processors name them; ``video_cap_tokens``: ``max_video_tokens`` where frames are capped, else 0."""

    name: ClassVar[str] = "qwen2_vl"
    models: ClassVar[tuple[str, ...]] = ("qwen2_vl", "qwen2_5_vl")
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE, VIDEO})

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int
    video_min_pixels: int
    video_max_pixels: int
    video_cap_tokens: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the image processor and the video processor."""
        image, video = configuration.image, configuration.video
        for processor in (image, video):
            processor.expect("do_resize", True)
        for side in ("patch_size", "merge_size", "temporal_patch_size"):
            video.expect(side, image.whole(side))
        return cls(
            image.whole("patch_size"),
            image.whole("merge_size"),
            image.whole("temporal_patch_size"),
            *bounds(configuration, image),
            *bounds(configuration, video),
            cap_tokens(video),
        )

    @property
    def factor(self) -> int:
        """Pixels on a side of what becomes one token."""
        return self.patch_size * self.merge_size

    def image(self, width: int, height: int) -> ImagePlan:
        """One token for each square of ``factor`` pixels."""
        size = smart_resize(width, height, self.factor, self.min_pixels, self.max_pixels)
        tokens = (size.width // self.factor) * (size.height // self.factor)
        return ImagePlan(size=size, embedded=tokens, tokens=tokens)

    def sizes(self, width: int, height: int) -> Iterator[Size]:
        """In whole squares."""
        return patch_sizes(self.image(width, height).size, width, height, self.factor)

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """Frames go in pairs, each pair as an image."""
        return self._video(len(times_s), width, height, self.video_min_pixels, self.video_max_pixels)

    def within(self, min_pixels: int | None, max_pixels: int | None) -> Self:
        """Other bounds, of images and of frames."""
        return replace(
            self,
            min_pixels=min_pixels or self.min_pixels,
            max_pixels=max_pixels or self.max_pixels,
            video_min_pixels=min_pixels or self.video_min_pixels,
            video_max_pixels=max_pixels or self.video_max_pixels,
        )

    def _video(self, frames: int, width: int, height: int, least: int, most: int) -> VideoPlan:
        if self.video_cap_tokens:
            whole = int(self.video_cap_tokens * self.factor * self.factor * _SHARE_OF_CAP)
            share = whole * self.temporal_patch_size // frames
            most = max(min(most, share), int(least * _LEAST_OVER_MINIMUM))
        size = smart_resize(width, height, self.factor, least, most)
        groups = -(-frames // self.temporal_patch_size)
        tokens = groups * (size.width // self.factor) * (size.height // self.factor)
        return VideoPlan(frames=groups * self.temporal_patch_size, size=size, embedded=tokens, tokens=tokens)


def bounds(configuration: Configuration, processor: Parameters) -> tuple[int, int]:
    """Least and most pixels of a processor; a size that stands in the tokenizer's file wins."""
    source = configuration.tokenizer if configuration.tokenizer.has("size") else processor
    return source.whole("size.shortest_edge"), source.whole("size.longest_edge")


def cap_tokens(video: Parameters) -> int:
    """What ``cap_pixels_per_frame`` divides between the frames, in tokens; 0: it is off."""
    capped = video.has("cap_pixels_per_frame") and video.flag("cap_pixels_per_frame")
    return video.whole("max_video_tokens") if capped else 0
