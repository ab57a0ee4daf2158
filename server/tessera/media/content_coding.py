"""Answers that a web server compresses although nobody asked it to, unpacked without ever exceeding a limit."""

from __future__ import annotations

from tessera import compression
from tessera.errors import MediaFetchFailed, MediaTooLarge


def read_coding(header: str) -> str | None:
    """The one coding that a ``Content-Encoding`` header names; None where there is none.

    Raises:
        MediaFetchFailed: another one, or several on top of each other.
    """
    try:
        return compression.read_coding(header)
    except compression.UnknownCoding as named:
        raise MediaFetchFailed(
            f"The answer came in content encoding {str(named)!r}, which was not asked for; "
            "gzip, deflate and zstd can be read."
        ) from None


def decompress(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Undo a coding that ``read_coding`` returned.

    Args:
        max_bytes: most bytes of the result; hardly more than that is ever unpacked.

    Raises:
        MediaFetchFailed: damaged or cut short.
        MediaTooLarge: more than ``max_bytes``.
    """
    try:
        return bytes(compression.decompress(body, coding, max_bytes))
    except compression.Damaged as error:
        raise MediaFetchFailed(f"The answer is damaged: {error}.") from error
    except compression.TooLong:
        raise MediaTooLarge(f"The media has more than the {max_bytes} bytes that are allowed.") from None
