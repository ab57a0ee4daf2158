"""Ogg files: where one link of a chain ends and the next begins, and whether all pages are there.

A chain is what joining files gives, and what web radio and some recorders write (RFC 3533, section 4).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from tessera.media.damage import check_damage
from tessera.media.limits import Deadline

_CAPTURE = b"OggS"
# Capture pattern, version, flags, granule position, serial number of the stream, number of the page, checksum,
# number of segments.
_PAGE = struct.Struct("<4sBBqIIIB")
_FIRST_OF_STREAM = 0x02
_CHECKSUM = slice(22, 26)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Link(NamedTuple):
    """One link of a chain, from ``start`` to ``end``.

    Args:
        start: offset of its first byte.
        end: offset behind its last byte.
        intact: it has pages, and none is damaged or missing.
    """

    start: int
    end: int
    intact: bool


class _Page(NamedTuple):
    start: int
    end: int
    position: int
    first_of_stream: bool
    serial: int
    number: int


def links(data: bytes, deadline: Deadline) -> Iterator[Link]:
    """The links of a file, but those that hold nothing. A last page that is cut short is no damage.

    Raises:
        MediaDecodeFailed: too many pages are damaged or missing.
    """
    start, beginning = 0, True
    book = _Book(start)
    for page in _pages(data, deadline):
        if page.first_of_stream and not beginning:
            if book.content:
                yield Link(start, page.start, book.close())
            start = page.start
            book = _Book(start)
        beginning = page.first_of_stream
        book.enter(page)
    if book.content or start == 0:
        yield Link(start, len(data), book.close())


class _Book:
    """Which pages of a link are there, and whether one holds more than headers."""

    def __init__(self, start: int) -> None:
        self.content = False
        self._end = start
        self._gaps = False
        self._pages = 0
        self._missing = 0
        self._numbers: dict[int, int] = {}

    def enter(self, page: _Page) -> None:
        """Take the next page."""
        self._gaps |= page.start != self._end
        self._end = page.end
        self._pages += 1
        # Headers stand at 0. Behind them a recording of web radio goes on with any number.
        if page.position != 0:
            self.content = True
            expected = self._numbers.get(page.serial, page.number - 1) + 1
            self._missing += max(0, page.number - expected)
            self._numbers[page.serial] = page.number

    def close(self) -> bool:
        """Whether all are there; raises ``MediaDecodeFailed`` where far from it."""
        check_damage(self._missing, self._pages + self._missing)
        return self._pages > 0 and not self._gaps and not self._missing


def _pages(data: bytes, deadline: Deadline) -> Iterator[_Page]:
    """All whole pages with the right checksum."""
    start = data.find(_CAPTURE)
    while start >= 0:
        deadline.check()
        page = _page(data, start)
        if page is not None:
            yield page
        start = data.find(_CAPTURE, start + 1 if page is None else page.end)


def _page(data: bytes, start: int) -> _Page | None:
    if len(data) - start < _PAGE.size:
        return None
    _, _, flags, position, serial, number, checksum, segments = _PAGE.unpack_from(data, start)
    body = start + _PAGE.size + segments
    end = body + sum(data[body - segments : body])
    if end > len(data) or _checksum(data[start:end]) != checksum:
        return None
    return _Page(start, end, position, bool(flags & _FIRST_OF_STREAM), serial, number)


def _checksum(page: bytes) -> int:
    """The page's CRC-32, whose polynomial is zlib's but whose bits go the other way round: so they are turned first."""
    cleared = page[: _CHECKSUM.start] + bytes(4) + page[_CHECKSUM.stop :]
    turned = zlib.crc32(cleared.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)
