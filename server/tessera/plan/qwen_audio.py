"""Qwen2-Audio (https://arxiv.org/abs/2407.10759): Whisper's encoder, four frames of the spectrogram to a token.

Source: ``vllm/model_executor/models/qwen2_audio.py`` (0.32) and
``transformers/models/whisper/feature_extraction_whisper.py`` (5.19).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from tessera.plan.family import AUDIO, Family
from tessera.plan.parameters import Configuration
from tessera.plan.plans import AudioPlan
from tessera.plan.whisper import halved_twice, mel_frames, sound


@dataclass(frozen=True, slots=True)
class QwenAudio(Family):
    """Args: as the feature extractor names them; ``longest_samples``: what it cuts a sound off at."""

    name: ClassVar[str] = "qwen2_audio"
    models: ClassVar[tuple[str, ...]] = ("qwen2_audio",)
    modalities: ClassVar[frozenset[str]] = frozenset({AUDIO})

    hop_length: int
    longest_samples: int

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From the feature extractor."""
        return cls(configuration.audio.whole("hop_length"), configuration.audio.whole("n_samples"))

    def audio(self, samples: int) -> AudioPlan:
        """One window; what is longer is cut off."""
        frames, heard = mel_frames(samples, self.hop_length, self.longest_samples)
        return sound(halved_twice(frames), heard)
