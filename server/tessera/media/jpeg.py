"""JPEG files: how large and of how many parts they are, before a decoder spends its time on them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tessera.errors import MediaDecodeFailed, MediaTooLarge
from tessera.media.limits import Deadline

MAX_SCANS = 100
"""Ten times what encoders of progressive JPEGs write: each scan is a pass over all pixels, however few bytes it has."""

MAX_SEGMENTS = 4096
"""Eight times what a profile and metadata of 32 MiB take in segments of 64 KiB."""

# Not in the coded pixels, where a byte of FF is followed by a zero or a restart marker.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN, _END = 0xDA, 0xD9
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset((0x01, 0xD8, 0xD9))
_SIZE = struct.Struct(">HH")


def size(data: bytes, deadline: Deadline) -> tuple[int, int]:
    """Width and height.

    Raises:
        MediaDecodeFailed: there is none.
    """
    for marker, start in _segments(data, deadline):
        if marker in _START_OF_FRAME and start + 3 + _SIZE.size <= len(data):
            height, width = _SIZE.unpack_from(data, start + 3)
            return width, height
    raise MediaDecodeFailed("The JPEG is damaged: it does not say its size.")


def check(data: bytes, deadline: Deadline) -> None:
    """Count the segments and the scans.

    Raises:
        MediaTooLarge: more than ``MAX_SEGMENTS`` or ``MAX_SCANS``.
    """
    scans = sum(marker == _START_OF_SCAN for marker, _ in _segments(data, deadline))
    if scans > MAX_SCANS:
        raise MediaTooLarge(f"The JPEG has {scans} scans; at most {MAX_SCANS} are allowed.")


def _segments(data: bytes, deadline: Deadline) -> Iterator[tuple[int, int]]:
    """Marker of each segment and where its length stands, found as libjpeg finds them: what is between is skipped."""
    position = 0
    for _ in range(MAX_SEGMENTS):
        deadline.check()
        found = _MARKER.search(data, position)
        if found is None or found[1][0] == _END:
            return
        marker, position = found[1][0], found.end()
        yield marker, position
        if marker not in _BARE:
            position += int.from_bytes(data[position : position + 2], "big")
    raise MediaTooLarge(f"The JPEG has more than {MAX_SEGMENTS} segments.")
