"""How a picture is to be turned and mirrored to be looked at: the display matrix of its container or codec."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame

# Right angles are met this closely, degrees, or a rotation is not applied.
_TOLERANCE_DEG = 1.0


@dataclass(frozen=True, slots=True)
class Orientation:
    """Steps from pixels as they are stored to pixels as they are looked at, in this order.

    Attributes:
        transposed: rows become columns.
        mirrored: left and right change places.
        flipped: top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def of(cls, picture: VideoFrame) -> Orientation:
        """The orientation that ``ffmpeg`` gives a picture by itself (``-autorotate``), for its multiples of 90°."""
        # PyAV's own types call it a dictionary.
        side_data = cast("Iterable[SideData]", picture.side_data)
        matrix = next((data for data in side_data if data.type is Type.DISPLAYMATRIX), None)
        if matrix is None:
            return cls()
        # A pixel at (x, y) is shown at (a x + c y, b x + d y).
        a, b, _, c, d = np.frombuffer(memoryview(matrix), dtype=np.int32)[:5].tolist()
        widths = math.hypot(a, c), math.hypot(b, d)
        if not all(widths):
            return cls()
        quarters = math.degrees(math.atan2(b / widths[1], a / widths[0])) / 90
        if abs(quarters - round(quarters)) * 90 > _TOLERANCE_DEG:
            return cls()
        if round(quarters) % 2:
            return cls(transposed=True, mirrored=c < 0, flipped=b < 0)
        return cls(mirrored=a < 0, flipped=d < 0)

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Pixels ``[height, width, 3]`` as they are looked at; a view."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.mirrored:
            pixels = pixels[:, ::-1]
        return pixels[::-1] if self.flipped else pixels
