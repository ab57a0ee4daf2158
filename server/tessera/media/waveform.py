"""Blocks of sound of any rate and any number of channels to one waveform."""

from __future__ import annotations

from typing import cast

import numpy as np
import soxr

from tessera.errors import MediaDecodeFailed, MediaTooLong
from tessera.media.levels import MAX_LEVEL, Levels, Samples

_MIN_RATE_HZ, _MAX_RATE_HZ = 1000, 768_000


class Waveform:
    """Averages channels, resamples and joins blocks; bounds levels, and enforces the duration limit on what is there.

    Rate and channels may change from block to block, as they do in broadcasts and joined files.

    Args:
        rate_hz: rate of the result.
        max_s: longest sound.
        before_s: how much of that is used up already.
    """

    def __init__(self, rate_hz: int, max_s: float, before_s: float = 0.0):
        self._rate_hz = rate_hz
        self._max_s = max_s
        self._seconds = before_s
        self._levels = Levels()
        self._source_rate_hz = 0
        self._resampler: soxr.ResampleStream | None = None
        # Grows in place: a list of blocks, joined at the end, needs twice the memory and leaves holes behind.
        self._bytes = bytearray()

    def add(self, channels: Samples, rate_hz: int) -> None:
        """Take one block.

        Args:
            channels: samples ``[channels, n]``.
            rate_hz: their rate.

        Raises:
            MediaDecodeFailed: a rate that no recording has.
            MediaTooLarge: longer than ``max_s``.
        """
        if rate_hz != self._source_rate_hz:
            self._change_rate(rate_hz)
        self._seconds += channels.shape[1] / rate_hz
        if self._seconds > self._max_s:
            raise MediaTooLong(f"The audio lasts longer than the {self._max_s:g} s that are allowed.")
        # Before anything is added up: the mean of large numbers and a resampler's filter overflow, and one NaN
        # spreads through both, and through the feature extractor's normalisation over the whole prompt.
        mono = _mean(self._levels.bound(channels))
        self._append(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def finish(self) -> Samples:
        """All samples ``[n]`` at the rate of the result, finite and within ``MAX_LEVEL``; empty if there were none.

        Raises:
            MediaDecodeFailed: too many numbers that are not sound, see ``Levels``.
        """
        self._flush()
        self._levels.check()
        return np.frombuffer(self._bytes, dtype=np.float32)

    def _change_rate(self, rate_hz: int) -> None:
        if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
            raise MediaDecodeFailed(f"The audio has a sample rate of {rate_hz} Hz, which is not supported.")
        self._flush()
        self._source_rate_hz = rate_hz
        if rate_hz != self._rate_hz:
            self._resampler = soxr.ResampleStream(rate_hz, self._rate_hz, 1, dtype="float32")

    def _flush(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True))
            self._resampler = None

    def _append(self, mono: Samples) -> None:
        # The resampler overshoots what it was given.
        self._bytes += np.ascontiguousarray(np.clip(mono, -MAX_LEVEL, MAX_LEVEL)).data


def _mean(channels: Samples) -> Samples:
    return channels[0] if len(channels) == 1 else cast("Samples", np.mean(channels, axis=0))
