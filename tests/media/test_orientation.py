from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from tests.media.clips import clip, decode, moving

ONE, FULL = 1 << 16, 1 << 30
# What phones write: the camera held four ways, and the front camera's mirror image of each. (a, b, c, d)
WAYS = {
    "upright": (1, 0, 0, 1),
    "a quarter clockwise": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "a quarter counterclockwise": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "mirrored, upside down": (1, 0, 0, -1),
    "mirrored, a quarter clockwise": (0, 1, 1, 0),
    "mirrored, a quarter counterclockwise": (0, -1, -1, 0),
}


def with_matrix(mp4, a, b, c, d):
    """The same file with another display matrix in its track header (ISO/IEC 14496-12, section 8.3.2)."""
    start = mp4.index(b"tkhd") + 44
    return mp4[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, FULL) + mp4[start + 36 :]


def moved(pixels, a, b, c, d):
    """Every pixel by itself to where the matrix says that it is shown: x to a x + c y, y to b x + d y."""
    height, width, _ = pixels.shape
    y, x = np.mgrid[0:height, 0:width]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    shown = np.empty((to_y.max() + 1, to_x.max() + 1, 3), dtype=np.uint8)
    shown[to_y, to_x] = pixels
    return shown


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_frames_are_turned_and_mirrored_as_they_are_to_be_looked_at(settings, way):
    mp4 = clip(3, picture=moving)
    stored, _ = decode(with_matrix(mp4, ONE, 0, 0, ONE), settings)
    shown, _ = decode(with_matrix(mp4, *(value * ONE for value in way)), settings)
    assert np.array_equal(shown, [moved(frame, *way) for frame in stored])


def test_a_scaled_down_frame_is_turned_too(make_settings):
    data = with_matrix(clip(3, picture=moving), 0, ONE, ONE, 0)
    frames, _ = decode(data, make_settings(media_max_frame_pixels=768))
    assert frames.shape == (3, 32, 24, 3)


@pytest.mark.parametrize(
    "matrix", [(0, 0, 0, 0), (ONE, 0, 0, 0), [round(ONE * math.sqrt(0.5)) * s for s in (1, 1, -1, 1)]]
)
def test_a_matrix_that_is_none_or_of_another_angle_turns_nothing(settings, matrix):
    mp4 = clip(3, picture=moving)
    assert np.array_equal(decode(with_matrix(mp4, *matrix), settings)[0], decode(mp4, settings)[0])
