"""ICO files: the largest of their pictures, taken out before a decoder sees the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from tessera.errors import MediaDecodeFailed
from tessera.media import png
from tessera.media.limits import Deadline

_HEADER = struct.Struct("<HHH")
# Of the directory: width, height (bytes, 0 for 256), colours, reserved, planes, bits a pixel, size, offset.
_ENTRY = struct.Struct("<BBBBHHII")
# Of a bitmap, as far as it is needed here: its header's size, width, height of pixels and mask, planes, bits a pixel.
_BITMAP = struct.Struct("<IiiHH")
_BITMAP_HEADER_BYTES = 40
_HEAD_BYTES = 64
_PNG = b"\x89PNG\r\n\x1a\n"
_ALPHA_BITS = 32


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of an icon.

    Attributes:
        width, height: by its own header, not by the icon's directory.
        bits: a pixel.
        content: a PNG, or a bitmap without the header of a file.
    """

    width: int
    height: int
    bits: int
    content: bytes

    @property
    def is_png(self) -> bool:
        """Whether ``content`` is a PNG."""
        return self.content.startswith(_PNG)

    def file(self) -> bytes:
        """An icon of this bitmap alone."""
        bits = self.bits
        if bits == _ALPHA_BITS and not any(self._alpha()):
            # Icons from before there was alpha have zeros there: then the mask counts, as for other depths.
            bits = 24
        sides = (side if side < 256 else 0 for side in (self.width, self.height))
        entry = _ENTRY.pack(*sides, 0, 0, 1, bits, len(self.content), _HEADER.size + _ENTRY.size)
        return _HEADER.pack(0, 1, 1) + entry + self.content

    def _alpha(self) -> bytes:
        (start,) = struct.unpack_from("<I", self.content)
        return self.content[start : start + 4 * self.width * self.height][3::4]


def largest(data: bytes, deadline: Deadline) -> Picture:
    """The picture of the most pixels, and among those of one size the one of the most bits.

    Raises:
        MediaDecodeFailed: there is none whose header can be read.
    """
    place = max(_places(data, deadline), key=lambda place: (place.width * place.height, place.bits), default=None)
    if place is None:
        raise MediaDecodeFailed("The icon is damaged: it holds no picture.")
    return Picture(place.width, place.height, place.bits, data[place.start : place.start + place.size])


class _Place(NamedTuple):
    """Where a picture stands, and what its header says."""

    width: int
    height: int
    bits: int
    start: int
    size: int


def _places(data: bytes, deadline: Deadline) -> Iterator[_Place]:
    """Pictures whose headers can be read, as far as they are all there."""
    _, _, count = _HEADER.unpack_from(data)
    entries = min(count, (len(data) - _HEADER.size) // _ENTRY.size)
    directory = memoryview(data)[_HEADER.size : _HEADER.size + entries * _ENTRY.size]
    for *_, size, start in _ENTRY.iter_unpack(directory):
        deadline.check()
        if size < _BITMAP.size or start + size > len(data):
            continue
        head = data[start : start + min(size, _HEAD_BYTES)]
        if head.startswith(_PNG):
            with suppress(MediaDecodeFailed):
                yield _Place(*png.size(head), _ALPHA_BITS, start, size)
            continue
        header, width, height, _, bits = _BITMAP.unpack_from(head)
        if header >= _BITMAP_HEADER_BYTES and width > 0 and height > 1:
            yield _Place(width, height // 2, bits, start, size)
