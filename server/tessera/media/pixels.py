"""The pixels of a picture on their way out of the process that decoded it."""

from __future__ import annotations

import os

from PIL import Image, ImageFile

_MODE = "RGB"
_BYTES_PER_PIXEL = 3
# In one step. As much again as the processor's cache holds would go through the memory once more.
_STEP_BYTES = 256 * 1024


class Pixels:
    """Rows of RGB, from the first to the last, as an array has them.

    Pillow keeps four bytes a pixel. An array of three is a copy, from which a file would be another one; for a
    photograph, both cost as much as decoding it. So they go from Pillow into the file.

    Args:
        picture: in mode RGB.

    Raises:
        ValueError: it is in another mode.
    """

    def __init__(self, picture: Image.Image):
        if picture.mode != _MODE:
            raise ValueError(f"pixels in mode {picture.mode}, not {_MODE}")
        self._picture = picture

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self._picture.height, self._picture.width, _BYTES_PER_PIXEL

    def __len__(self) -> int:
        return self._picture.width * self._picture.height * _BYTES_PER_PIXEL

    def write(self, descriptor: int, offset: int) -> None:
        """Write them into a file, in which nothing stands behind ``offset``."""
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            # At the place of the file itself, which is moved there; and 0 means that it stays where it is.
            file.seek(offset)
            # What all of Pillow's own plug-ins write with.
            tile = ImageFile._Tile("raw", (0, 0, *self._picture.size), 0, (_MODE, 0, 1))
            ImageFile._save(self._picture, file, [tile], _STEP_BYTES)

    def __bytes__(self) -> bytes:
        return self._picture.tobytes()
