"""Audio to mono samples at the model's rate; at that rate already, equal to what vLLM's own loader returns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media.container import open_container
from tessera.media.item import MediaSpec
from tessera.media.limits import Deadline, media_errors
from tessera.media.sniff import Kind
from tessera.settings import Settings

Samples = npt.NDArray[np.float32]
_Block = tuple[Samples, int]
"""mono samples, and their rate in Hz"""

_SOUNDFILE_TYPES = frozenset({"audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/aiff"})
_BLOCK_SAMPLES = 1 << 18
_MIN_RATE_HZ, _MAX_RATE_HZ = 1000, 768_000


def decode(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> tuple[Samples, dict[str, Any]]:
    """Decode audio, or the sound of a video.

    Channels are averaged as in vLLM 0.32 (``vllm/multimodal/media/audio.py``). Decoding, downmix and resampling
    go block by block: what is held is bounded by the duration limit at the model's rate, whatever a header says.

    Args:
        data: encoded audio, or a video.
        kind: its format; no other is tried.
        spec: the model's sample rate.
        settings: limits.
        deadline: checked for every block.

    Returns:
        Samples ``[n]`` float32, and their ``sample_rate`` (Hz) and ``duration`` (s).

    Raises:
        InvalidMedia: damaged, empty, or without an audio stream.
        MediaTooLarge: longer than ``media_max_audio_s``.
        MediaDecodeTimeout: too slow to decode.
    """
    with media_errors("audio"):
        track = decode_track(data, kind, spec, settings, deadline)
        if track is None:
            raise InvalidMedia(f"The {kind.mime} file has no audio stream.")
        return track


def decode_track(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> tuple[Samples, dict[str, Any]] | None:
    """As ``decode``, but None for a file without an audio stream."""
    with media_errors("audio"):
        samples: Samples | None = np.empty(0, dtype=np.float32)
        if kind.mime in _SOUNDFILE_TYPES:
            # libsndfile reads fewer codecs than FFmpeg does, and a stream it calls damaged may still play.
            with contextlib.suppress(soundfile.LibsndfileError):
                samples = _collect(_soundfile_blocks(data), spec, settings, deadline)
        if samples is not None and samples.size == 0:
            samples = _decode_with_ffmpeg(data, kind, spec, settings, deadline)
        if samples is None:
            return None
        if samples.size == 0:
            raise InvalidMedia("The audio is empty: 0 samples.")
        rate = spec.audio_sample_rate_hz
        return samples, {"sample_rate": rate, "duration": samples.size / rate}


def _decode_with_ffmpeg(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> Samples | None:
    with open_container(data, kind) as container:
        if not container.streams.audio:
            return None
    return _collect(_ffmpeg_blocks(data, kind), spec, settings, deadline)


def _collect(blocks: Iterator[_Block], spec: MediaSpec, settings: Settings, deadline: Deadline) -> Samples:
    collector = _Collector(spec.audio_sample_rate_hz, settings.media_max_audio_s)
    for samples, rate in blocks:
        deadline.check()
        collector.add(samples, rate)
    return collector.finish()


class _Collector:
    """Resamples and joins blocks, and enforces the duration limit on what is really there.

    Args:
        rate: rate of the result, Hz.
        max_s: longest audio.
    """

    def __init__(self, rate: int, max_s: float):
        self._rate = rate
        self._max_s = max_s
        self._seconds = 0.0
        self._source_rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._parts: list[Samples] = []

    def add(self, samples: Samples, rate: int) -> None:
        """Take one block of mono samples."""
        if not self._source_rate:
            if not _MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
                raise InvalidMedia(f"The audio has a sample rate of {rate} Hz, which is not supported.")
            self._source_rate = rate
            if rate != self._rate:
                self._resampler = soxr.ResampleStream(rate, self._rate, 1, dtype="float32")
        if rate != self._source_rate:
            raise InvalidMedia("The audio changes its sample rate.")
        self._seconds += samples.size / rate
        if self._seconds > self._max_s:
            raise MediaTooLarge(f"The audio lasts longer than the {self._max_s:g} s that are allowed.")
        # One NaN would spread through the feature extractor's normalisation over the whole prompt.
        samples = np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        self._parts.append(samples if self._resampler is None else self._resampler.resample_chunk(samples))

    def finish(self) -> Samples:
        """All samples, at the rate of the result; empty if there were none."""
        if self._resampler is not None:
            self._parts.append(self._resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))
        return np.concatenate(self._parts) if self._parts else np.empty(0, dtype=np.float32)


def _soundfile_blocks(data: bytes) -> Iterator[_Block]:
    with soundfile.SoundFile(BytesIO(data)) as file:
        frames = max(1, _BLOCK_SAMPLES // file.channels)
        while (block := file.read(frames, dtype="float32", always_2d=True)).size:
            yield _mono(block.T), file.samplerate


def _ffmpeg_blocks(data: bytes, kind: Kind) -> Iterator[_Block]:
    with open_container(data, kind) as container:
        stream = container.streams.audio[0]
        planes: av.AudioResampler | None = None
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                # A damaged packet is a click in the sound; players pass over it too.
                continue
            for frame in decoded:
                # Only to planar float: vLLM leaves integers as they are, 32768 times too loud.
                planes = planes or av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
                for converted in planes.resample(frame):
                    yield _mono(cast("Samples", converted.to_ndarray())), converted.sample_rate


def _mono(channels: Samples) -> Samples:
    """``[channels, n]`` to ``[n]``; a lone channel is copied, because decoders reuse their buffers."""
    mono: Samples = channels[0].copy() if len(channels) == 1 else np.mean(channels, axis=0)
    return mono
