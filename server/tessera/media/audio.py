"""Audio to mono samples at the model's rate; at that rate already, equal to what vLLM's own loader returns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tessera.errors import MediaDecodeFailed, MediaTypeMismatch
from tessera.media import audio_readers, mpeg_audio
from tessera.media.item import MediaSpec
from tessera.media.levels import Samples
from tessera.media.limits import Deadline, media_errors
from tessera.media.pieces import Piece, split
from tessera.media.sniff import Kind
from tessera.media.waveform import Waveform
from tessera.settings import Settings

_LIBSNDFILE_TYPES = frozenset({"audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/aiff"})


def decode(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> tuple[Samples, dict[str, Any]]:
    """Decode audio, or the sound of a video.

    Channels are averaged as in vLLM 0.32 (``vllm/multimodal/media/audio.py``), and as there libsndfile reads what it
    can. But libsndfile stops at damage, and where the rate or the channels change: what it gives counts only if it is
    all that there is, and else FFmpeg reads the file. Decoding, downmix and resampling go block by block: what is
    held is bounded by the duration limit at the model's rate, whatever a header says.

    Args:
        data: encoded audio, or a video.
        kind: its format; no other is tried.
        spec: the model's sample rate.
        settings: limits.
        deadline: checked for every block.

    Returns:
        Samples ``[n]`` float32, finite and within ``levels.MAX_LEVEL``; their ``sample_rate`` (Hz) and
        ``duration`` (s).

    Raises:
        MediaDecodeFailed: damaged, empty, without an audio stream, or numbers that are not sound.
        MediaTooLarge: longer than ``media_max_audio_s``.
        MediaDecodeTimeout: too slow to decode.
    """
    with media_errors("audio"):
        track = decode_track(data, kind, spec, settings, deadline)
        if track is None:
            raise MediaTypeMismatch(f"The {kind.mime} file has no audio stream.")
        return track


def decode_track(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> tuple[Samples, dict[str, Any]] | None:
    """As ``decode``, but None for a file without an audio stream."""
    rate = spec.audio_sample_rate_hz
    with media_errors("audio"):
        parts: list[Samples] = []
        seconds = 0.0
        for piece in split(data, kind, deadline):
            part = _read(piece, kind, partial(Waveform, rate, settings.media_max_audio_s, seconds), deadline)
            if part is not None:
                parts.append(part)
                seconds += part.size / rate
        if not parts:
            return None
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if samples.size == 0:
            raise MediaDecodeFailed("The audio is empty: 0 samples.")
        return samples, {"sample_rate": rate, "duration": samples.size / rate}


def _read(piece: Piece, kind: Kind, new_waveform: Callable[[], Waveform], deadline: Deadline) -> Samples | None:
    """Samples at the rate of the result; None without an audio stream."""
    if kind.mime in _LIBSNDFILE_TYPES and piece.intact:
        waveform = new_waveform()
        complete = audio_readers.read_with_libsndfile(piece, waveform, deadline)
        samples = waveform.finish() if complete else None
        if samples is not None and samples.size:
            return samples
    data = piece.data
    if kind.mime == "audio/mpeg":
        # Nothing is left where the frames are none of those known here: then FFmpeg may know them.
        data = mpeg_audio.repair(data, deadline) or data
    waveform = new_waveform()
    return waveform.finish() if audio_readers.read_with_ffmpeg(data, kind, waveform, deadline) else None
