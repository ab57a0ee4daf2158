"""A PNG's lines of pixels, inflated at once: Pillow inflates line by line, which takes more than twice as long."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import deflate

# Of larger pictures less is gained, and they would be in memory twice more.
MOST_BYTES = 16 << 20
# Of a pixel, by the type of its colour.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# zlib's format: its head, blocks of no more than so many bytes as they are, and a checksum of all of them.
_HEAD = b"\x78\x01"
_BLOCK = struct.Struct("<BHH")
_MOST_IN_BLOCK = 0xFFFF
_SUM = struct.Struct(">I")


def count_bytes(width: int, height: int, depth: int, colour: int) -> int:
    """Bytes of all lines, each with its filter in front; 0: no PNG has such pixels.

    Args:
        width, height: pixels.
        depth: bits of a sample.
        colour: type of the pixels, as the file's header has it.
    """
    line_bits = width * depth * _SAMPLES.get(colour, 0)
    return height * (1 + (line_bits + 7) // 8) if line_bits else 0


def stored(content: Sequence[bytes | memoryview], nbytes: int) -> list[bytes | memoryview] | None:
    """A zlib stream of the same bytes as they are; None where they are other than so many, or anything is wrong.

    Args:
        content: pieces of a zlib stream.
        nbytes: of what is in it.
    """
    try:
        lines = deflate.zlib_decompress(b"".join(content), nbytes)
    except deflate.DeflateError:
        return None
    if len(lines) != nbytes:
        return None
    view = memoryview(lines)
    pieces: list[bytes | memoryview] = [_HEAD]
    for start in range(0, nbytes, _MOST_IN_BLOCK):
        block = view[start : start + _MOST_IN_BLOCK]
        last = start + _MOST_IN_BLOCK >= nbytes
        pieces += _BLOCK.pack(last, len(block), len(block) ^ _MOST_IN_BLOCK), block
    pieces.append(_SUM.pack(deflate.adler32(lines)))
    return pieces
