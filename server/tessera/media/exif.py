"""How an image is to be turned, by its EXIF data."""

from __future__ import annotations

import contextlib

from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a person see the image upright; None where it is, and where its EXIF data is damaged.

    Args:
        image: loaded, so that nothing but EXIF data is read here.
    """
    orientation = None
    # Pillow raises almost anything here, and the picture is there without it.
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return _TURNS.get(orientation) if isinstance(orientation, int) else None
