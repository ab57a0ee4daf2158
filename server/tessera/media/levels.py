"""How loud samples may be: no number from outside reaches an engine unbounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tessera.errors import MediaDecodeFailed

Samples = npt.NDArray[np.float32]

MAX_LEVEL = 16.0
"""Largest sample, where 1 is full scale: 24 dB above it.

Full scale itself is no bound that correct files keep: codecs and resamplers overshoot it (noise at full scale comes
back at up to 4 from MP3 and Opus), and floating point is used for the headroom above it. vLLM's own loader hands all
of that on as it is, and so does this one. Models begin to answer wrongly at about 100 times full scale.
"""

_MAX_UNUSABLE = 0.01


class Levels:
    """Bounds samples, and refuses sound that is no longer what it was after that.

    Single samples that are broken (a click, a damaged packet) are clipped, and NaN becomes 0. Where more than one in
    a hundred is, the numbers are not sound: 16-bit values in floating point, a division by zero, another format.
    """

    def __init__(self) -> None:
        self._samples = 0
        self._unusable = 0

    def bound(self, samples: Samples) -> Samples:
        """Samples of any shape, finite and within ``MAX_LEVEL``; the array itself where they are so already."""
        self._samples += samples.size
        # False also for NaN, which min and max hand on.
        if samples.size == 0 or (samples.min() >= -MAX_LEVEL and samples.max() <= MAX_LEVEL):
            return samples
        self._unusable += int(np.count_nonzero(~(np.abs(samples) <= MAX_LEVEL)))
        bounded = np.nan_to_num(samples, nan=0.0, posinf=MAX_LEVEL, neginf=-MAX_LEVEL)
        return np.clip(bounded, -MAX_LEVEL, MAX_LEVEL, out=bounded)

    def check(self) -> None:
        """Raise ``MediaDecodeFailed`` if too much had to be bounded."""
        if self._unusable > self._samples * _MAX_UNUSABLE:
            share = max(1, round(100 * self._unusable / self._samples))
            raise MediaDecodeFailed(
                f"{share} % of the audio's samples are not numbers, or louder than {MAX_LEVEL:g} times full scale. "
                "Samples in floating point have to be within -1 and 1: 16-bit values have to be divided by 32768."
            )
