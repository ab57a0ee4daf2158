"""Dolby Vision whose colours nobody can show without Dolby's own decoder: told, and not shown wrong.

Most of it has a base layer that is HDR10, HLG or BT.709, and is read as that. In profile 5, and in profile 10 where it
says so, all there is are values in a colour space of its own, bent by curves that come with each frame.
"""

from __future__ import annotations

from collections.abc import Iterator

from tessera.errors import MediaDecodeFailed
from tessera.media.boxes import boxes
from tessera.media.limits import Deadline
from tessera.media.sniff import Kind

# What the record is called, by version of its format (Dolby Vision streams within the ISO base media file format, 3.2).
_NAMES = (b"dvcC", b"dvvC", b"dvwC")
_RECORD_BYTES = 24
_BOX_BYTES = (8 + _RECORD_BYTES).to_bytes(4, "big")
# Matroska: an element that holds the name, and one that holds the record.
_NAME_ELEMENT, _RECORD_ELEMENT = b"\x41\xe7\x84", b"\x41\xed\x98"
# Tracks are described before the first of their packets.
_MATROSKA_HEAD_BYTES = 1 << 20
# Profiles that may be without a compatible base layer.
_OWN_COLOURS = (5, 10)


def check(data: bytes, kind: Kind, deadline: Deadline) -> None:
    """Refuse what has colours that only Dolby's decoder knows.

    Raises:
        MediaDecodeFailed: it has.
    """
    for record in _records(data, kind, deadline):
        profile, compatibility = record[2] >> 1, record[4] >> 4
        if profile in _OWN_COLOURS and not compatibility:
            raise MediaDecodeFailed(
                f"The video is in Dolby Vision profile {profile}, whose colours need Dolby's own decoder. "
                "Export it as HDR10, HLG or SDR."
            )


def _records(data: bytes, kind: Kind, deadline: Deadline) -> Iterator[bytes]:
    if kind.demuxer == "mov":
        for movie in boxes(memoryview(data), b"moov", deadline):
            yield from _find(bytes(movie), _BOX_BYTES, b"")
    elif kind.demuxer == "matroska":
        yield from _find(data[:_MATROSKA_HEAD_BYTES], _NAME_ELEMENT, _RECORD_ELEMENT)


def _find(data: bytes, before: bytes, behind: bytes) -> Iterator[bytes]:
    """Records by their names, with what stands in front of these and behind them."""
    for name in _NAMES:
        start = data.find(before + name + behind)
        if start >= 0:
            start += len(before + name + behind)
            record = data[start : start + _RECORD_BYTES]
            if len(record) == _RECORD_BYTES:
                yield record
