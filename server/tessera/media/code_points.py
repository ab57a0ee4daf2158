"""Which colours and which light a file's numbers stand for, as ITU-T H.273 numbers them ("CICP", "nclx")."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tessera.media import png
from tessera.media.boxes import all_boxes, boxes
from tessera.media.limits import Deadline

BT709, BT2020, DCI_P3, DISPLAY_P3 = 1, 9, 11, 12
"""Primaries."""

PQ, HLG = 16, 18
"""Transfer characteristics of high dynamic range: SMPTE ST 2084 and ARIB STD-B67."""

_NCLX = struct.Struct(">4sHH")


class CodePoints(NamedTuple):
    """What a file says of its numbers.

    Attributes:
        primaries: the colours of red, green and blue.
        transfer: from numbers to light.
    """

    primaries: int
    transfer: int


def find(data: bytes, mime: str, deadline: Deadline) -> CodePoints | None:
    """What an image file says; None where it does not, or is of a format that cannot.

    Args:
        data: the file.
        mime: its format.
        deadline: checked for every part of the file that is looked at.
    """
    if mime == "image/png":
        chunk = png.chunk(data, png.LABEL, deadline)
        return CodePoints(chunk[0], chunk[1]) if len(chunk) == 4 else None
    if mime in ("image/avif", "image/heic"):
        return _of_main_picture(memoryview(data), deadline)
    return None


def _of_main_picture(data: memoryview, deadline: Deadline) -> CodePoints | None:
    """The ``colr`` property of the picture that the file shows (ISO/IEC 23008-12, ISO/IEC 14496-12)."""
    try:
        meta = next(boxes(data, b"meta", deadline))[4:]
        properties = next(boxes(meta, b"iprp", deadline))
        listed = list(all_boxes(next(boxes(properties, b"ipco", deadline)), deadline))
        numbers = _properties_of(_main(meta, deadline), next(boxes(properties, b"ipma", deadline)), deadline)
        for number in numbers:
            kind, content = listed[number - 1]
            if kind == b"colr":
                form, primaries, transfer = _NCLX.unpack_from(content)
                if form == b"nclx":
                    return CodePoints(primaries, transfer)
    except (StopIteration, struct.error, IndexError):
        pass  # damaged: the decoder finds out
    return None


def _main(meta: memoryview, deadline: Deadline) -> int:
    """The number of the picture that is shown."""
    box = next(boxes(meta, b"pitm", deadline))
    return int.from_bytes(box[4:6] if box[0] == 0 else box[4:8], "big")


def _properties_of(item: int, box: memoryview, deadline: Deadline) -> list[int]:
    """The numbers of an item's properties, from 1 on (``ipma``)."""
    wide_item, wide_property = box[0] > 0, box[3] & 1
    (count,) = struct.unpack_from(">I", box, 4)
    place = 8
    for _ in range(count):
        deadline.check()
        (number,) = struct.unpack_from(">I" if wide_item else ">H", box, place)
        place += 4 if wide_item else 2
        many = box[place]
        layout = struct.Struct(f">{many}{'H' if wide_property else 'B'}")
        if number == item:
            most = 0x7FFF if wide_property else 0x7F
            return [association & most for association in layout.unpack_from(box, place + 1)]
        place += 1 + layout.size
    return []
