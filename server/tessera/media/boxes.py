"""The boxes of which ISO base media files are made: MP4, MOV, 3GP, HEIC and AVIF (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tessera.media.limits import Deadline

_BOX = struct.Struct(">I4s")


def boxes(data: memoryview, wanted: bytes, deadline: Deadline) -> Iterator[memoryview]:
    """Content of the boxes of one kind."""
    return (content for kind, content in all_boxes(data, deadline) if kind == wanted)


def all_boxes(data: memoryview, deadline: Deadline) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of the boxes that stand one after the other; ends where something else stands."""
    place = 0
    while place + _BOX.size <= len(data):
        deadline.check()
        size, kind = _BOX.unpack_from(data, place)
        header = _BOX.size
        if size == 1:
            size, header = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        end = place + size if size else len(data)
        if end < place + header:
            return
        yield kind, data[place + header : end]
        place = end
