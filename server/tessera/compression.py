"""HTTP's content codings gzip, deflate and zstd, undone without ever exceeding a limit."""

from __future__ import annotations

import zlib
from typing import Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Memory that one may need, as a power of 2: what RFC 9659 allows for HTTP.
_ZSTD_WINDOW: dict[int, int] = {DecompressionParameter.window_log_max: 23}
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC = {"gzip": _GZIP_MAGIC, "zstd": _ZSTD_MAGIC}
_GZIP_BITS = 16 + zlib.MAX_WBITS
_KNOWN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "zstd": "zstd"}
# Bytes, in and out; results are put together while no other thread can run.
_STEP = 1 << 18


class UnknownCoding(ValueError):
    """Another coding than gzip, deflate and zstd, or several on top of each other; says which."""


class Damaged(ValueError):
    """The data cannot be unpacked, or has no end; says which."""


class TooLong(ValueError):
    """The data is longer than the limit."""


def read_coding(header: str) -> str | None:
    """The one coding that a ``Content-Encoding`` header names, a value of those known; None where there is none.

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
        unpacker: _Unpacker = _Zstd() if coding == "zstd" else _Zlib(_window_bits(body, coding))
        while not unpacker.eof:
            given = view[position : position + _STEP] if unpacker.hungry else b""
            position += len(given)
            try:
                # With nothing to read there may still be something to write.
                piece = unpacker.unpack(given, _STEP)
            except (zlib.error, ZstdError) as error:
                raise Damaged(f"it cannot be unpacked as {coding}") from error
            if unpacker.hungry and not given and not piece and not unpacker.eof:
                raise Damaged(f"its {coding} data is cut short")
            result += piece
            if len(result) > max_bytes:
                raise TooLong
        # Files of gzip and frames of zstd may stand one behind the other; other bytes behind the end are ignored, as
        # browsers do.
        position -= len(unpacker.unused_data)
        magic = _MAGIC.get(coding)
        if magic is None or view[position : position + len(magic)] != magic:
            return result


class _Unpacker(Protocol):
    """Undoes a coding step by step.

    Attributes:
        hungry: it has nothing left of what it was given.
        unused_data: given to it, and behind the end.
    """

    @property
    def eof(self) -> bool:
        """Its end was seen."""

    @property
    def hungry(self) -> bool:
        """See above."""

    @property
    def unused_data(self) -> bytes:
        """See above."""

    def unpack(self, data: bytes | memoryview, most: int) -> bytes:
        """Take data, and give so many bytes at the most."""


class _Zlib:
    def __init__(self, window_bits: int):
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def hungry(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def unpack(self, data: bytes | memoryview, most: int) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, most)


class _Zstd:
    def __init__(self) -> None:
        self._inner = ZstdDecompressor(options=_ZSTD_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def hungry(self) -> bool:
        return self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def unpack(self, data: bytes | memoryview, most: int) -> bytes:
        return self._inner.decompress(data, most)


def _window_bits(body: bytes | bytearray, coding: str) -> int:
    if coding == "gzip":
        return _GZIP_BITS
    # "deflate" is zlib's format by the standard, and bare deflate by habit: their first two bytes differ.
    zlib_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
