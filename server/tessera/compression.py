"""HTTP's content codings gzip and deflate, undone without ever exceeding a limit."""

from __future__ import annotations

import zlib

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 16 + zlib.MAX_WBITS
_KNOWN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
# Bytes, in and out; results are put together while no other thread can run.
_STEP = 1 << 18


class UnknownCoding(ValueError):
    """Another coding than gzip and deflate, or several on top of each other; says which."""


class Damaged(ValueError):
    """The data cannot be unpacked, or has no end; says which."""


class TooLong(ValueError):
    """The data is longer than the limit."""


def read_coding(header: str) -> str | None:
    """The one coding that a ``Content-Encoding`` header names, ``gzip`` or ``deflate``; None where there is none.

    Raises:
        UnknownCoding
    """
    names = [name for part in header.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in _KNOWN:
        raise UnknownCoding(", ".join(names)[:64])
    return _KNOWN[names[0]]


def looks_like_gzip(data: bytes | bytearray) -> bool:
    """Whether it begins as gzip does."""
    return data.startswith(_GZIP_MAGIC)


def decompress(body: bytes | bytearray, coding: str, max_bytes: int) -> bytearray:
    """Undo a coding that ``read_coding`` returned. Other threads can run meanwhile.

    Args:
        max_bytes: most bytes of the result; hardly more than that is ever unpacked.

    Raises:
        Damaged, TooLong
    """
    result = bytearray()
    view, position = memoryview(body), 0
    while True:
        unpacker = zlib.decompressobj(_window_bits(body, coding))
        pending: bytes | memoryview = b""
        while not unpacker.eof:
            if not pending:
                pending = view[position : position + _STEP]
                position += len(pending)
            try:
                # With nothing to read there may still be something to write.
                piece = unpacker.decompress(pending, _STEP)
            except zlib.error as error:
                raise Damaged(f"it cannot be unpacked as {coding}") from error
            if not pending and not piece and not unpacker.eof:
                raise Damaged(f"its {coding} data is cut short")
            pending = unpacker.unconsumed_tail
            result += piece
            if len(result) > max_bytes:
                raise TooLong
        # Files of gzip may stand one behind the other; other bytes behind the end are ignored, as browsers do.
        position -= len(unpacker.unused_data)
        if coding != "gzip" or not looks_like_gzip(bytes(view[position : position + len(_GZIP_MAGIC)])):
            return result


def _window_bits(body: bytes | bytearray, coding: str) -> int:
    if coding == "gzip":
        return _GZIP_BITS
    # "deflate" is zlib's format by the standard, and bare deflate by habit: their first two bytes differ.
    zlib_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
