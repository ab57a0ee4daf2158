"""Ways to damage a file."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable, Sequence

# Lengths, counts and sizes that code forgets.
_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_FORMATS = (">I", "<I", ">H", "<H", "B")
# What names a chunk or a box, with its length in front or behind.
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_DAMAGES = 4


def damage(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A damaged copy.

    Args:
        others: files of the same modality, to splice with.
    """
    for _ in range(chance.randint(1, _MOST_DAMAGES)):
        way = chance.choice(_WAYS)
        data = way(data, others, chance) or data
    # Otherwise hardly anything would get past the checksums.
    return _with_checksums(data) if data.startswith(_PNG) and chance.random() < 0.8 else data


def _flip(data: bytes, _others: Sequence[bytes], chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _number(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return _put(data, chance.randrange(len(data)), chance)


def _number_by_a_name(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    places = [found.start() for found in _NAME.finditer(data)]
    if not places:
        return data
    return _put(data, max(chance.choice(places) + chance.choice((-4, 4, 8, 12, 16)), 0), chance)


def _put(data: bytes, place: int, chance: random.Random) -> bytes:
    format_ = chance.choice(_FORMATS)
    size = struct.calcsize(format_)
    number = struct.pack(format_, chance.choice(_NUMBERS) & (256**size - 1))
    return data[:place] + number + data[place + size :]


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(1, len(data) + 1)]


def _leave_out(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = sorted(chance.choices(range(len(data)), k=2))
    return data[:start] + data[end:]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = sorted(chance.choices(range(len(data)), k=2))
    return data[:end] + data[start:end] * chance.choice((1, 2, 8)) + data[end:]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: chance.randrange(1, len(data) + 1)] + other[chance.randrange(len(other)) :]


def _noise(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = chance.choice((4, 16, 64))
    return data[:start] + chance.randbytes(length) + data[start + length :]


_WAYS: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    _flip, _flip, _number, _number_by_a_name, _number_by_a_name, _cut, _leave_out, _repeat, _splice, _noise,
)  # fmt: skip


def _with_checksums(data: bytes) -> bytes:
    parts, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        content = data[place + 4 : place + 8 + length]
        parts += [data[place : place + 4], content, struct.pack(">I", zlib.crc32(content))]
        place += 12 + length
    return b"".join(parts)
