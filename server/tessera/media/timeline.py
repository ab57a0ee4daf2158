"""When the frames of a video are shown, as vLLM's samplers and models count time: in steps of an even rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tessera.media.packets import Numbers, PacketIndex, Seconds

# What transformers assumes of a video that does not say.
_UNKNOWN_FPS = 24.0
# vLLM counts one frame too few or too many in a header as nothing worth correcting.
_COUNT_TOLERANCE = 1
# A constant rate may be this far from it, in frames: whatever is off by less is nearer to no other frame.
_RATE_TOLERANCE = 0.5
# Steps as fine as timestamps mostly are, for times that fit no rate; and how far a time may be from a step of a rate
# that it fits (Matroska and FLV round to 1 ms, and so may be off by it after the first time has been subtracted).
_FINE_FPS = 1000.0
_FIT_S = 0.0011
_MAX_FIT_FPS = 240.0


@dataclass(frozen=True, slots=True)
class Header:
    """What a container says about a video stream.

    Attributes:
        rates: frames per second, 0 where it is unknown; the one that counts first.
        frames: number of frames, 0 if it is unknown.
        duration_s: length of the whole file.
    """

    rates: tuple[float, ...]
    frames: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video on the steps of an even rate.

    In a video of constant rate, step k shows frame k. Any other is laid on the steps of an imaginary video of
    constant rate that lasts as long: a step shows the last frame whose time has come, and some frames are shown at
    many steps, others perhaps at none.

    Attributes:
        total: number of steps.
        fps: steps per second.
        steps: the step at which each frame is shown first, in the order in which they are shown.
        constant: the frames themselves are the steps.
    """

    total: int
    fps: float
    steps: Numbers
    constant: bool

    @classmethod
    def of(cls, index: PacketIndex, header: Header) -> Timeline:
        """Find out by the frames' own times; the header is believed where these do not contradict it."""
        count, moments = index.frames, index.moments
        rate = next((rate for rate in header.rates if rate > 0), 0.0)
        if moments is None or count == 1:
            return cls(_total(header, rate, count), rate or _UNKNOWN_FPS, np.arange(count), constant=True)
        if rate and np.abs(moments * rate - np.arange(count)).max() <= _RATE_TOLERANCE:
            return cls(_total(header, rate, count), rate, np.arange(count), constant=True)
        fps = next((rate for rate in header.rates if _fits(moments, rate)), _FINE_FPS)
        steps = np.rint(moments * fps).astype(np.int64)
        tail_s = index.tail_s or float(np.median(np.diff(moments)))
        total = int(steps[-1]) + max(1, round(tail_s * fps))
        return cls(total, fps, steps, constant=total == count and bool(np.all(np.diff(steps) == 1)))

    @property
    def duration_s(self) -> float:
        """How long the video lasts."""
        return self.total / self.fps

    def pick(self, steps: list[int]) -> list[tuple[int, int]]:
        """What is shown at some steps.

        Args:
            steps: ascending.

        Returns:
            For each a step and the number of a frame that is shown there; ascending and distinct. The step is the
            one at which the frame appears, or for a frame that is there already, the one that was asked for. Steps
            of a constant rate that only a header counts are left out, as in vLLM.
        """
        frames = np.searchsorted(self.steps, steps, side="right") - 1
        before = -1
        picked = []
        for step, frame in zip(steps, frames.tolist(), strict=True):
            if step >= len(self.steps) and self.constant:
                break
            picked.append((step if frame == before else int(self.steps[frame]), frame))
            before = frame
        return picked


def _total(header: Header, rate: float, count: int) -> int:
    """Frames by the header, or as OpenCV estimates them, if that is about what is there."""
    stated = header.frames or math.floor(header.duration_s * rate + 0.5)
    return stated if stated and abs(stated - count) <= _COUNT_TOLERANCE else count


def _fits(moments: Seconds, rate: float) -> bool:
    """Every moment is one of a step of that rate, and no step has two."""
    if not 0 < rate <= _MAX_FIT_FPS:
        return False
    steps = np.rint(moments * rate)
    return bool(np.abs(moments - steps / rate).max() <= _FIT_S and np.all(np.diff(steps) > 0))
