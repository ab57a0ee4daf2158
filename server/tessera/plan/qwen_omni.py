"""Qwen2.5-Omni (https://arxiv.org/abs/2503.20215) and Qwen3-Omni (https://arxiv.org/abs/2509.17765).

Source: ``transformers/models/{qwen2_5_omni,qwen3_omni_moe}/processing_*.py`` (5.19), and vLLM's
``qwen2_5_omni_thinker.py`` and ``qwen3_omni_moe_thinker.py`` (0.32), which write the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from tessera.plan.family import AUDIO, IMAGE, VIDEO
from tessera.plan.parameters import Configuration, Parameters
from tessera.plan.plans import AudioPlan, VideoPlan
from tessera.plan.qwen_vl import QwenVL, bounds, cap_tokens
from tessera.plan.whisper import halved_twice, mel_frames, sound

# The processors' own defaults, in squares of one token: they use them whatever the video processor's files say, until
# the tokenizer's file or a request names a size.
_LEAST_SQUARES, _MOST_SQUARES = 128, 768
# Qwen3-Omni's encoder takes windows of a second.
_FRAMES_OF_WINDOW, _TOKENS_OF_WINDOW = 100, 13
_MARKS_OF_SOUND = 2  # around the tokens of a video with its sound


@dataclass(frozen=True, slots=True)
class Qwen25Omni(QwenVL):
    """Args: as of Qwen2-VL, and of the feature extractor.

    ``own_video_min_pixels`` and ``own_video_max_pixels``: the video processor's bounds, which count as soon as a
    request names one of them.
    """

    name: ClassVar[str] = "qwen2_5_omni"
    models: ClassVar[tuple[str, ...]] = ("qwen2_5_omni",)
    modalities: ClassVar[frozenset[str]] = frozenset({IMAGE, VIDEO, AUDIO})
    default_factor: ClassVar[int] = 28
    times_by_rate: ClassVar[bool] = True

    own_video_min_pixels: int
    own_video_max_pixels: int
    hop_length: int
    longest_samples: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the three processors."""
        image, video, audio = configuration.image, configuration.video, configuration.audio
        for processor in (image, video):
            processor.expect("do_resize", True)
        for side in ("patch_size", "merge_size", "temporal_patch_size"):
            video.expect(side, image.whole(side))
        square = cls.default_factor**2
        defaults = Parameters("default", _sizes(_LEAST_SQUARES * square, _MOST_SQUARES * square))
        return cls(
            image.whole("patch_size"),
            image.whole("merge_size"),
            image.whole("temporal_patch_size"),
            *bounds(configuration, image),
            *bounds(configuration, defaults),
            cap_tokens(video),
            video.whole("size.shortest_edge"),
            video.whole("size.longest_edge"),
            audio.whole("hop_length"),
            audio.whole("n_samples"),
        )

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """As Qwen2-VL's; with the tokens of its sound in between where that goes with it."""
        plan = self._video(len(times_s), width, height, self.video_min_pixels, self.video_max_pixels)
        if samples is None:
            return plan
        heard = self.audio(samples).tokens
        embedded = plan.embedded + heard
        return replace(plan, embedded=embedded, tokens=embedded + _MARKS_OF_SOUND, sound=heard)

    def audio(self, samples: int) -> AudioPlan:
        """Four frames of the spectrogram become a token."""
        frames, heard = mel_frames(samples, self.hop_length, self.longest_samples)
        return sound(halved_twice(frames), heard)

    def within(self, min_pixels: int | None, max_pixels: int | None) -> Self:
        """Other bounds, of images and of frames."""
        if min_pixels is None and max_pixels is None:
            return self
        return replace(
            self,
            min_pixels=min_pixels or self.min_pixels,
            max_pixels=max_pixels or self.max_pixels,
            video_min_pixels=min_pixels or self.own_video_min_pixels,
            video_max_pixels=max_pixels or self.own_video_max_pixels,
        )


@dataclass(frozen=True, slots=True)
class Qwen3Omni(Qwen25Omni):
    """Args: as of Qwen2.5-Omni; sounds are taken whole."""

    name: ClassVar[str] = "qwen3_omni"
    models: ClassVar[tuple[str, ...]] = ("qwen3_omni_moe",)
    default_factor: ClassVar[int] = 32

    def audio(self, samples: int) -> AudioPlan:
        """Each second of 100 frames becomes 13 tokens."""
        frames, heard = mel_frames(samples, self.hop_length, None)
        rest = (frames % _FRAMES_OF_WINDOW - 1) // 2 + 1
        tokens = ((rest - 1) // 2 + 1 - 1) // 2 + 1 + frames // _FRAMES_OF_WINDOW * _TOKENS_OF_WINDOW
        return sound(tokens, heard)


def _sizes(least: int, most: int) -> dict[str, dict[str, int]]:
    return {"size": {"shortest_edge": least, "longest_edge": most}}
