"""Base64 as clients really send it: wrapped, percent-encoded, URL-safe, unpadded, with ``+`` turned into a space."""

from __future__ import annotations

import string
from urllib.parse import unquote_to_bytes

import pybase64

from tessera.errors import InvalidMedia, MediaTooLarge

STEP_CHARS = 256 * 1024
"""What is done in one step, which others have to wait for: about a tenth of a millisecond."""

_PADDING_BYTES = 2
_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()
# What the URL-safe alphabet has in their place; and all white space but the blank becomes a line break.
_TO_STANDARD = bytes.maketrans(b"-_\t\r\f", b"+/\n\n\n")


def decode(text: str, max_bytes: int, *, start: int = 0) -> bytes:
    """Decode ``text``; of bad data no character stands in an error.

    Args:
        text: base64, in any of the forms above.
        max_bytes: most bytes of the result; checked before anything is decoded.
        start: where it begins.

    Raises:
        InvalidMedia: not base64.
        MediaTooLarge: more than ``max_bytes``.
    """
    if _decoded_bytes(len(text) - start) > max_bytes + _PADDING_BYTES:
        _check_size(_tidy(text[start:]), max_bytes)
    try:
        data = _decode_tidy(text, start)
    except ValueError:  # rare, and worth a second look
        data = _decode_untidy(_tidy(text[start:]), max_bytes)
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    return data


def decode_head(text: str, nbytes: int) -> bytes:
    """About the first bytes of ``text``, to see what it is; what cannot be decoded ends them."""
    # Twice as long as it has to be, for line ends and what is percent-encoded.
    start = text[: 2 * nbytes * 4 // 3]
    if "%" in start[-2:]:
        start = start[: start.rindex("%")]
    try:
        encoded = _tidy(start)
    except InvalidMedia:
        return b""
    whole = len(encoded) - len(encoded.lstrip(_ALPHABET))
    rest = encoded[: min(whole, nbytes * 4 // 3)]
    rest = rest[: len(rest) - (len(rest) % 4 == 1)]
    return pybase64.b64decode(rest + b"=" * (-len(rest) % 4))


def _decode_tidy(text: str, start: int) -> bytes:
    pieces: list[bytes] = []
    for place in range(start, len(text), STEP_CHARS):
        if pieces and len(pieces[-1]) != _decoded_bytes(STEP_CHARS):
            raise ValueError("padding in the middle")
        pieces.append(pybase64.b64decode(text[place : place + STEP_CHARS], validate=True))
    return b"".join(pieces)


def _decode_untidy(encoded: bytes, max_bytes: int) -> bytes:
    _check_size(encoded, max_bytes)
    if encoded.translate(None, _ALPHABET):
        raise InvalidMedia("The media data is not base64: it has characters that do not occur in base64.")
    if len(encoded) % 4 == 1:
        raise InvalidMedia("The media data is not complete base64: its last group has a single character.")
    return pybase64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)


def _tidy(text: str) -> bytes:
    """The characters of the standard alphabet, without white space and padding."""
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise InvalidMedia("The media data is not base64: it has characters outside of ASCII.") from error
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    raw = raw.translate(_TO_STANDARD)
    if b" " not in raw:
        raw = raw.replace(b"\n", b"")
    else:
        # A blank beside a line break is white space; one that stands alone may be something else.
        raw = b"".join(line.strip(b" ") for line in raw.split(b"\n"))
        raw = raw.replace(b" ", b"+" if _are_pluses(raw) else b"")
    return raw.rstrip(b"=")


def _are_pluses(raw: bytes) -> bool:
    """Whether the blanks in base64 are pluses that the decoder of a form has turned into blanks.

    It turns all of them. Otherwise blanks divide lines of one length, and what they stand between is complete without
    them.
    """
    if b"+" in raw:
        return False
    *lines, last = raw.split(b" ")
    of_one_length = len({len(line) for line in lines}) == 1 and len(last) <= len(lines[0])
    wrapped = of_one_length and (len(raw) - len(lines)) % 4 == 0
    impossible = raw.endswith(b"=") and len(raw) % 4 != 0
    return not wrapped and not impossible


def _check_size(encoded: bytes, max_bytes: int) -> None:
    size = _decoded_bytes(len(encoded))
    if size > max_bytes:
        raise _too_large(size, max_bytes)


def _decoded_bytes(chars: int) -> int:
    return chars * 3 // 4


def _too_large(size: int, max_bytes: int) -> MediaTooLarge:
    return MediaTooLarge(f"The media data has {size} bytes; at most {max_bytes} are allowed.")
