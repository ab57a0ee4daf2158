"""PNG files: what decides about the pixels is checked, and nothing else is handed to the decoder.

Texts, large colour profiles and later frames can fill the file, inflate to a thousand times their size and be damaged;
the picture is the same without them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import deflate
from PIL import Image

from tessera.errors import MediaDecodeFailed
from tessera.media import png_lines
from tessera.media.limits import Deadline

# Behind the signature, and length and name of the first chunk: width, height, bit depth, colour type, and whether the
# lines come in another order than from the top.
_HEADER = struct.Struct(">16xIIBBxxB")
_SIGNATURE_BYTES = 8
_CHUNK = struct.Struct(">I4s")
_LENGTH_BYTES = 4
_CRC = struct.Struct(">I")
_HEADER_CHUNK_BYTES = _CHUNK.size + 13 + _CRC.size
# Of the ways to pack and to filter lines that a header may name, the standard knows one.
_METHODS = slice(26, 28)
_GREY, _RGB = 0, 2
# By the colours of pixels of 8 bits a sample, which are to Pillow as they stand in a file.
_MODES = {_GREY: "L", _RGB: "RGB", 4: "LA", 6: "RGBA"}

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
# The orientation: EXIF data as the standard has it, and as ImageMagick and Adobe's programs put it into texts.
_EXIF = (b"eXIf", b"zTXtRaw profile type exif\0", b"tEXtRaw profile type exif\0", b"iTXtXML:com.adobe.xmp\0")
_MAX_EXIF_BYTES = 64 * 1024
_MAX_NAME_BYTES = 80

LABEL = b"cICP"
"""The chunk of the coding-independent code points."""

MAX_PROFILE_BYTES = 1 << 20
"""Largest colour profile that is looked at; Pillow's own limit."""


def size(data: bytes) -> tuple[int, int]:
    """Width and height.

    Raises:
        MediaDecodeFailed: it does not begin as a PNG has to.
    """
    width, height, *_ = _header(data)
    return width, height


@dataclass(frozen=True, slots=True)
class Reduced:
    """The chunks that make a picture.

    Attributes:
        data: the PNG.
        chunks: its signature and these, whole.
        lines: in place of the pixels among them, a zlib stream of the same, inflated; None: they are as they were.
        place: where the pixels are among them.
        labelled: it says which colours and which light its numbers stand for (see ``code_points``).
    """

    data: bytes
    chunks: Sequence[bytes | memoryview]
    lines: Sequence[bytes | memoryview] | None
    place: slice
    labelled: bool

    def file(self) -> bytes:
        """A PNG of these chunks alone."""
        pieces = list(self.chunks)
        if self.lines is not None:
            pieces[self.place] = _chunk(b"IDAT", self.lines)
        return b"".join((*pieces, *_chunk(b"IEND")))

    def picture(self) -> Image.Image | None:
        """The same, decoded, where there is nothing to know of the pixels but what they are; otherwise None.

        Opening such a file, to find out what is in it, takes Pillow a tenth of the time that decoding a small one does.

        Raises:
            ValueError: a line names a filter that there is not.
        """
        width, height, depth, colour, _ = _header(self.data)
        mode = _MODES.get(colour) if depth == 8 else None
        told = [len(piece) for piece in (*self.chunks[: self.place.start], *self.chunks[self.place.stop :])]
        plain = told == [_SIGNATURE_BYTES, _HEADER_CHUNK_BYTES] and not any(self.data[_METHODS])
        if self.lines is None or mode is None or not plain or self.labelled:
            return None
        return Image.frombytes(mode, (width, height), b"".join(self.lines), "zip", mode, False)


def reduce(data: bytes, deadline: Deadline) -> Reduced:
    """The same picture, of only the chunks that make it, and ready to be read; an animation's first frame.

    Raises:
        MediaDecodeFailed: cut short, or one of these chunks is damaged.
    """
    width, height, depth, colour, interlaced = _header(data)
    view = memoryview(data)
    kept: list[bytes | memoryview] = [view[:_SIGNATURE_BYTES]]
    # Where the pixels stand among these.
    first, last = 0, 0
    labelled = False
    profile: memoryview | None = None
    for name, start, end in _chunks(data, deadline):
        if name in _PIXELS:
            _check(view, name, start, end)
            chunk = view[start:end]
            if name == b"IDAT":
                first, last = first or len(kept), len(kept) + 1
            kept.append(_transparent_colour(chunk, depth, colour) if name == b"tRNS" else chunk)
        elif (
            data.startswith(_EXIF, start + _LENGTH_BYTES)
            and end - start <= _MAX_EXIF_BYTES
            and _is_whole(view, start, end)
        ):
            kept.append(view[start:end])
        elif name == b"iCCP" and profile is None:
            profile = view[start:end]
            if _is_whole(view, start, end) and _is_small(profile[_CHUNK.size :]):
                kept.append(profile)
        elif name == LABEL:
            labelled = True
    nbytes = 0 if interlaced else png_lines.count_bytes(width, height, depth, colour)
    place = slice(first, last)
    inflates = 0 < nbytes <= png_lines.MOST_BYTES
    return Reduced(data, kept, _inflated(kept[place], nbytes) if inflates else None, place, labelled)


def chunk(data: bytes, name: bytes, deadline: Deadline) -> bytes:
    """The content of the first chunk of a name, if it is whole and small; empty where there is none.

    Raises:
        MediaDecodeFailed: it does not begin as a PNG has to.
    """
    _header(data)
    view = memoryview(data)
    for other, start, end in _chunks(data, deadline):
        if other == name and end - start <= _MAX_EXIF_BYTES and _is_whole(view, start, end):
            return bytes(view[start + _CHUNK.size : end - _CRC.size])
    return b""


def _header(data: bytes) -> tuple[int, int, int, int, int]:
    if data[12:16] != b"IHDR" or len(data) < _HEADER.size:
        raise MediaDecodeFailed("The PNG is damaged: it does not begin with its header.")
    return _HEADER.unpack_from(data)


def _inflated(chunks: Sequence[bytes | memoryview], nbytes: int) -> list[bytes | memoryview] | None:
    """The pixels in these chunks, so that there is nothing left to inflate; None where something is wrong."""
    if any(chunk[_LENGTH_BYTES : _CHUNK.size] != b"IDAT" for chunk in chunks):
        return None
    return png_lines.stored([chunk[_CHUNK.size : -_CRC.size] for chunk in chunks], nbytes)


def _chunks(data: bytes, deadline: Deadline) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk before the last; an end may be behind that of the data."""
    start = _SIGNATURE_BYTES
    while start + _CHUNK.size <= len(data):
        deadline.check()
        length, name = _CHUNK.unpack_from(data, start)
        if name == b"IEND":
            return
        end = start + _CHUNK.size + length + _CRC.size
        yield name, start, end
        start = end


def _check(view: memoryview, name: bytes, start: int, end: int) -> None:
    if end > len(view):
        raise MediaDecodeFailed(f"The PNG is cut short in an {name.decode()} chunk.")
    if not _is_whole(view, start, end):
        raise MediaDecodeFailed(f"The PNG is damaged: the checksum of an {name.decode()} chunk is wrong.")


def _is_whole(view: memoryview, start: int, end: int) -> bool:
    if end > len(view):
        return False
    (crc,) = _CRC.unpack_from(view, end - _CRC.size)
    return bool(deflate.crc32(view[start + _LENGTH_BYTES : end - _CRC.size]) == crc)


def _is_small(body: memoryview) -> bool:
    """Whether a colour profile inflates to no more than Pillow takes."""
    name, _, rest = bytes(body[:_MAX_NAME_BYTES]).partition(b"\0")
    try:
        inflater = zlib.decompressobj()
        inflater.decompress(body[len(name) + 2 :] if rest else b"", MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return inflater.eof


def _transparent_colour(chunk: memoryview, depth: int, colour: int) -> bytes:
    """The ``tRNS`` chunk in the 8 bits to which Pillow brings the pixels before it compares them with this."""
    body = chunk[_CHUNK.size : -_CRC.size]
    if colour == _GREY and depth in (2, 4) and len(body) == 2:
        most = 2**depth - 1
        body = memoryview(struct.pack(">H", (body[1] & most) * 255 // most))
    elif colour == _RGB and depth == 16 and len(body) == 6:
        body = memoryview(struct.pack(">HHH", body[0], body[2], body[4]))
    return b"".join(_chunk(b"tRNS", [body]))


def _chunk(name: bytes, body: Sequence[bytes | memoryview] = ()) -> list[bytes | memoryview]:
    """A chunk, in pieces."""
    crc = deflate.crc32(name)
    for piece in body:
        crc = deflate.crc32(piece, crc)
    return [_CHUNK.pack(sum(map(len, body)), name), *body, _CRC.pack(crc)]
