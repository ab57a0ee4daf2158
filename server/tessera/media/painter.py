"""Decoded pictures as RGB arrays: scaled down where they are too large, and turned as they are to be looked at."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from tessera.media.code_points import BT2020, CodePoints
from tessera.media.limits import Deadline
from tessera.media.orientation import Orientation
from tessera.media.rendering import Rendering

Frames = npt.NDArray[np.uint8]

_UNSPECIFIED = 2


class Painter:
    """Turns pictures into arrays of one shape: that of the first one, scaled and turned.

    Args:
        first: the first picture.
        max_pixels: larger pictures are scaled down to this.
        deadline: checked while colours are converted.
    """

    def __init__(self, first: VideoFrame, max_pixels: int, deadline: Deadline):
        self._deadline = deadline
        self._width, self._height = _fit(first.width, first.height, max_pixels)
        self._orientation = Orientation.of(first)
        self._rendering = Rendering.of(CodePoints(first.color_primaries, first.color_trc))
        self._reformatter = VideoReformatter()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of every painted picture."""
        if self._orientation.transposed:
            return self._width, self._height, 3
        return self._height, self._width, 3

    def paint(self, picture: VideoFrame) -> Frames:
        """One picture ``[height, width, 3]`` RGB.

        Raises:
            MediaDecodeTimeout: the deadline has passed.
        """
        if self._rendering is not None:
            return self._orientation.apply(self._rendering.apply(self._values(picture), self._deadline))
        # BGR with bicubic chroma, and the channels swapped afterwards: swscale takes other code paths for RGB
        # whose pixels differ by up to 4 from OpenCV's for sources of more than 8 bits.
        scaled = self._reformatter.reformat(
            picture, self._width, self._height, "bgr24", interpolation=Interpolation.BICUBIC, threads=1
        )
        return self._orientation.apply(cast("Frames", scaled.to_ndarray())[..., ::-1])

    def _values(self, picture: VideoFrame) -> npt.NDArray[np.uint16]:
        """Of 16 bits, for what is rendered afterwards."""
        # Matrices are often not said, and these colours have only one in use.
        unsaid = picture.colorspace == _UNSPECIFIED and picture.color_primaries == BT2020
        scaled = self._reformatter.reformat(
            picture,
            self._width,
            self._height,
            "rgb48le",
            src_colorspace=Colorspace.BT2020 if unsaid else None,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        return cast("npt.NDArray[np.uint16]", scaled.to_ndarray())


def _fit(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The size itself, or the largest even size of the same aspect within ``max_pixels``."""
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)
