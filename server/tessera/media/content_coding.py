"""Answers that a web server compresses although nobody asked it to, unpacked without ever exceeding a limit."""

from __future__ import annotations

import zlib

from tessera.errors import MediaFetchFailed, MediaTooLarge

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 16 + zlib.MAX_WBITS
_KNOWN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


def read_coding(header: str) -> str | None:
    """The one coding that a ``Content-Encoding`` header names, ``gzip`` or ``deflate``; None where there is none.

    Raises:
        MediaFetchFailed: another one, or several on top of each other.
    """
    names = [name for part in header.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in _KNOWN:
        shown = ", ".join(names)[:64]
        raise MediaFetchFailed(
            f"The answer came in content encoding {shown!r}, which was not asked for; gzip and deflate can be read."
        )
    return _KNOWN[names[0]]


def decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Undo a coding that ``read_coding`` returned.

    Args:
        max_bytes: most bytes of the result; no more than that is ever unpacked.

    Raises:
        MediaFetchFailed: damaged or cut short.
        MediaTooLarge: more than ``max_bytes``.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        unpacker = zlib.decompressobj(_window_bits(body, coding))
        try:
            # One byte more than fits, since a limit that is exactly reached looks like one that is exceeded.
            piece = unpacker.decompress(body, max_bytes - size + 1)
        except zlib.error as error:
            raise MediaFetchFailed(f"The answer is damaged: it cannot be unpacked as {coding}.") from error
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise MediaTooLarge(f"The media has more than the {max_bytes} bytes that are allowed.")
        if not unpacker.eof:
            raise MediaFetchFailed(f"The answer is cut short: its {coding} data has no end.")
        # Files of gzip may stand one behind the other; other bytes behind the end are ignored, as browsers do.
        body = unpacker.unused_data
        if coding != "gzip" or not body.startswith(_GZIP_MAGIC):
            return b"".join(pieces)


def _window_bits(body: bytes, coding: str) -> int:
    if coding == "gzip":
        return _GZIP_BITS
    # "deflate" is zlib's format by the standard, and bare deflate by habit: their first two bytes differ.
    zlib_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
