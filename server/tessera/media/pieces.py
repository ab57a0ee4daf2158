"""Audio files that are several files one behind the other, as joining them or sending them in turns makes them.

Players go on with the next one; libsndfile and some demuxers of FFmpeg stop at the end of the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tessera.media import mpeg_audio, ogg
from tessera.media.limits import Deadline
from tessera.media.sniff import Kind

# The marker, and the header of the block of 34 bytes that has to come first.
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_CHUNK_HEADER_BYTES = 8
_BOX_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A file that can be decoded by itself.

    Args:
        data: encoded audio.
        intact: nothing is known to be missing in the middle, so that libsndfile may get to the end.
        least_samples: samples of each channel that have to come out of it; None: as many as the file says.
    """

    data: bytes
    intact: bool = True
    least_samples: int | None = None


def split(data: bytes, kind: Kind, deadline: Deadline) -> Iterator[Piece]:
    """The pieces of a file, in order; nearly always there is one. Joined MP3s need no cut: their frames say it all."""
    match kind.mime:
        case "audio/mpeg":
            least = mpeg_audio.least_samples(data, deadline)
            yield Piece(data, intact=least is not None, least_samples=least)
        case "audio/ogg":
            for link in ogg.links(data, deadline):
                yield Piece(data[link.start : link.end], link.intact)
        case "audio/flac":
            yield from _cut(data, (found.start() for found in _FLAC_START.finditer(data, 1)))
        case "audio/wav":
            yield from _cut(data, _chunk_files(data, "little"))
        case "audio/aiff":
            yield from _cut(data, _chunk_files(data, "big"))
        case "audio/mp4":
            yield from _cut(data, _box_files(data, deadline))
        case _:
            yield Piece(data)


def _cut(data: bytes, starts: Iterable[int]) -> Iterator[Piece]:
    for start, end in pairwise((0, *starts, len(data))):
        yield Piece(data[start:end])


def _chunk_files(data: bytes, byte_order: Literal["little", "big"]) -> Iterator[int]:
    """Where the second and later WAV or AIFF files begin: each says how long it is; odd lengths are filled up."""
    start = 0
    while True:
        size = int.from_bytes(data[start + 4 : start + _CHUNK_HEADER_BYTES], byte_order)
        start += _CHUNK_HEADER_BYTES + size + size % 2
        if data[start : start + 4] != data[:4] or data[start + 8 : start + 11] != data[8:11]:
            return
        yield start


def _box_files(data: bytes, deadline: Deadline) -> Iterator[int]:
    """Where the second and later MP4 files begin: with a box that says their type."""
    start = 0
    while len(data) - start >= _BOX_HEADER_BYTES:
        deadline.check()
        if start and data[start + 4 : start + _BOX_HEADER_BYTES] == b"ftyp":
            yield start
        size = int.from_bytes(data[start : start + 4], "big")
        if size == 1:
            size = int.from_bytes(data[start + _BOX_HEADER_BYTES : start + 2 * _BOX_HEADER_BYTES], "big")
        if size < _BOX_HEADER_BYTES:
            return
        start += size
