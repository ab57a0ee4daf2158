"""Sounds as Whisper's feature extractor and encoders like its own take them: a mel spectrogram, halved twice.

Source: ``transformers/models/whisper/feature_extraction_whisper.py`` (5.19), and ``_get_feat_extract_output_lengths``
of ``vllm/model_executor/models/qwen2_audio.py`` (0.32).
"""

from __future__ import annotations

from tessera.plan.plans import AudioPlan, Unplannable


def mel_frames(samples: int, hop_length: int, longest: int | None) -> tuple[int, int]:
    """Frames of a sound, and the samples that they are made of.

    Args:
        longest: samples that are taken of it, and that it is filled up to; None: all of it, filled up to whole frames.
    """
    if longest is None:
        return -(-samples // hop_length), samples
    heard = min(samples, longest)
    return min(-(-heard // hop_length), longest // hop_length), heard


def halved_twice(frames: int) -> int:
    """Tokens of so many frames, after a convolution and a pooling of two."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def sound(tokens: int, heard: int) -> AudioPlan:
    """The plan of a sound.

    Raises:
        Unplannable: it is too short to be a token.
    """
    if tokens < 1:
        raise Unplannable(f"The sound is too short: {heard} samples give no token.")
    return AudioPlan(heard=heard, embedded=tokens, tokens=tokens)
