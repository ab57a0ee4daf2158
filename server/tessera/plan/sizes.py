"""Sizes that an image may be made smaller to: in whole patches, or so that it fits into tiles."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.plan.plans import Size

_MOST_STEPS = 256


def patch_sizes(size: Size, width: int, height: int, factor: int) -> Iterator[Size]:
    """Sizes up to one, in the shape of an image, each side a number of patches.

    Args:
        size: the largest, pixels.
        width: of the image.
        height: of the image.
        factor: pixels on a side of a patch.
    """
    for columns in _counts(size.width // factor):
        yield Size(columns * factor, max(1, round(columns * height / width)) * factor)
    for rows in _counts(size.height // factor):
        yield Size(max(1, round(rows * width / height)) * factor, rows * factor)


def shrunk_sizes(width: int, height: int, scales: Iterator[float]) -> Iterator[Size]:
    """The image at each of these scales that makes it smaller."""
    for scale in scales:
        if scale < 1:
            yield Size(max(1, int(width * scale)), max(1, int(height * scale)))


def _counts(most: int) -> Iterator[int]:
    """From 1 up, in no more than so many steps."""
    for i in range(1, min(most, _MOST_STEPS) + 1):
        yield most * i // min(most, _MOST_STEPS)
