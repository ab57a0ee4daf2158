"""Pixels of every kind that image files have, as 8-bit RGB on white."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

from tessera.errors import MediaDecodeFailed
from tessera.media.limits import Deadline

_WHITE = (255, 255, 255)
_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_UNSIGNED = 1
_WHITE_IS_ZERO = 0
# Pixels taken at a time, so that what numpy computes with stays small.
_BLOCK_PIXELS = 1 << 20

_Values = npt.NDArray[Any]


def to_rgb(image: Image.Image, deadline: Deadline) -> Image.Image:
    """The image in mode RGB: what is transparent is laid over white, and values of more than 8 bits are scaled.

    Args:
        image: loaded, in any mode.
        deadline: checked for every block of pixels that is scaled.

    Raises:
        MediaDecodeFailed: floating-point pixels without a single number among them.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bits(image, deadline)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        flat = Image.new("RGB", layered.size, _WHITE)
        flat.paste(layered, mask=layered.getchannel("A"))
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(image: Image.Image, deadline: Deadline) -> Image.Image:
    """Grey of 12 bits and more, or in floating point, as mode L, or LA where one value is transparent."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode.startswith("I;"):
        (bits, *_) = tags.get(BITSPERSAMPLE, (16,))
        low, high = 0.0, 2.0**bits - 1
    else:
        if image.mode == "I" and tags.get(SAMPLEFORMAT, (_UNSIGNED,))[0] == _UNSIGNED:
            values = values.view(np.uint32)
        low, high = _range(values, deadline)
    levels = np.empty(values.shape, np.uint8)
    for rows in _blocks(values, deadline):
        levels[rows] = _scale(values[rows], low, high)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        np.subtract(255, levels, out=levels)  # Pillow does it up to 8 bits
    grey = Image.fromarray(levels)
    transparent = image.info.get("transparency")
    if transparent is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255)))))


def _range(values: _Values, deadline: Deadline) -> tuple[float, float]:
    """What is black and what is white where the number of bits does not say it.

    The first of the ranges in use that holds all values: 0 to 1 (in floating point), 8 bits, 16 bits. What fits none
    is a measurement (heights, tomographies), and is shown from its least to its largest value.
    """
    low, high = math.inf, -math.inf
    for rows in _blocks(values, deadline):
        block = values[rows]
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise MediaDecodeFailed("None of the image's pixels is a number.")
    for most in (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0):
        if low >= 0 and high <= most:
            return 0.0, most
    return low, high


def _scale(values: _Values, low: float, high: float) -> npt.NDArray[np.uint8]:
    """``low`` to 0, ``high`` to 255, rounded to the nearest as the PNG specification scales sample depths (13.12).

    What is below, or not a number, becomes black, and what is above white.
    """
    numbers = np.nan_to_num(values.astype(np.float64), copy=False, nan=low, posinf=high, neginf=low)
    share = (np.clip(numbers, low, high) - low) / (high - low or 1.0)
    return np.floor(share * 255 + 0.5).astype(np.uint8)


def _blocks(values: _Values, deadline: Deadline) -> Iterator[slice]:
    height, width = values.shape
    step = max(1, _BLOCK_PIXELS // width)
    for start in range(0, height, step):
        deadline.check()
        yield slice(start, start + step)
