"""TIFF files: whether their first image is all there, and in how many pieces."""

from __future__ import annotations

import contextlib
import struct
import zlib
from dataclasses import dataclass

from tessera.errors import MediaDecodeFailed, MediaTooLarge
from tessera.media.limits import Deadline

MAX_TAGS = 4096
"""Far more than any writer's: a raw photograph has some hundred."""

MAX_PIECES = 65_536
"""Strips or tiles: each costs the decoder some 50 µs and 300 bytes, even if it holds nothing."""

_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _PLANES = 256, 257, 259, 277, 284
_STRIPS, _ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_DEFLATE = (8, 32946)
_SEPARATE = 2
# The types of whole numbers in use there: 16 and 32 bits.
_TYPES = {3: "H", 4: "I"}
_INFLATED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Tag:
    """Numbers of one type, which stand at ``start`` of the file."""

    order: str
    kind: str
    count: int
    start: int

    def numbers(self, data: bytes, most: int) -> tuple[int, ...]:
        layout = struct.Struct(f"{self.order}{min(self.count, most)}{self.kind}")
        return layout.unpack_from(data, self.start) if self.start + layout.size <= len(data) else ()


def check(data: bytes, deadline: Deadline) -> None:
    """Look for what the decoder is silent about: missing pieces, which would be black, and wrong checksums.

    Raises:
        MediaDecodeFailed: there are fewer strips or tiles than the picture needs, or one is damaged by its checksum.
        MediaTooLarge: more than ``MAX_TAGS`` or ``MAX_PIECES``.
    """
    tags = _tags(data)

    def first(tag: int, default: int = 0) -> int:
        numbers = tags[tag].numbers(data, 1) if tag in tags else ()
        return numbers[0] if numbers else default

    height = first(_HEIGHT)
    striped = _STRIPS in tags
    if striped:
        needed = _divided(height, first(_ROWS, height))
    else:
        needed = _divided(first(_WIDTH), first(_TILE_WIDTH)) * _divided(height, first(_TILE_HEIGHT))
    if first(_PLANES) == _SEPARATE:
        needed *= first(_SAMPLES, 1)
    pieces = tags.get(_STRIPS if striped else _TILES)
    if pieces is None:
        return  # nothing to decode: the decoder says so
    if pieces.count > MAX_PIECES:
        raise MediaTooLarge(f"The TIFF is divided into {pieces.count} parts; at most {MAX_PIECES} are allowed.")
    if pieces.count < needed:
        raise MediaDecodeFailed(f"The TIFF is damaged: {needed - pieces.count} of its {needed} parts are missing.")
    lengths = tags.get(_STRIP_BYTES if striped else _TILE_BYTES)
    if first(_COMPRESSION) in _DEFLATE and lengths is not None:
        starts = pieces.numbers(data, needed)
        for start, length in zip(starts, lengths.numbers(data, needed), strict=False):
            _check_sum(memoryview(data)[start : start + length], deadline)


def _check_sum(deflated: memoryview, deadline: Deadline) -> None:
    """Read up to the checksum, which libtiff leaves alone if it has all pixels before it; a wrong one raises."""
    inflater = zlib.decompressobj()
    rest: bytes | memoryview = deflated
    while not inflater.eof:
        deadline.check()
        inflated = inflater.decompress(rest, _INFLATED_BYTES)
        rest = inflater.unconsumed_tail
        if not inflated and not rest:
            raise MediaDecodeFailed("The TIFF is damaged: one of its parts is cut short.")


def _divided(size: int, piece: int) -> int:
    return -(-size // piece) if piece else 0


def _tags(data: bytes) -> dict[int, _Tag]:
    """The tags with whole numbers of the first image; a damaged directory ends early."""
    order = "<" if data.startswith(b"II") else ">"
    entry = struct.Struct(order + "HHII")
    tags: dict[int, _Tag] = {}
    with contextlib.suppress(struct.error):
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        if count > MAX_TAGS:
            raise MediaTooLarge(f"The TIFF has {count} tags; at most {MAX_TAGS} are allowed.")
        for place in range(start + 2, start + 2 + count * entry.size, entry.size):
            tag, kind, numbers, field = entry.unpack_from(data, place)
            if kind in _TYPES and tag not in tags:
                inside = numbers * struct.calcsize("=" + _TYPES[kind]) <= 4
                tags[tag] = _Tag(order, _TYPES[kind], numbers, place + 8 if inside else field)
    return tags
