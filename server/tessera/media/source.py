"""What a content part points at: a URL to fetch, a data URL, or base64 data with a format beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote_to_bytes

import pybase64

from tessera.errors import InvalidMedia, MediaTooLarge

_ACCEPTED = "an http:// or https:// URL, or a data: URL in base64"
_MAX_URL_CHARS = 8192
_MAX_DATA_HEADER_CHARS = 256
_WHITESPACE = b" \t\r\n\f"
_PADDING_BYTES = 2


@dataclass(frozen=True, slots=True)
class MediaSource:
    """Use ``from_url`` or ``from_base64``.

    Args:
        text: the URL, or the base64 data, as the client sent it.
        remote: it has to be fetched.
        start: where the base64 data starts in ``text`` (a data URL is not copied only to cut its head off).
        declared: media type that comes with the data, or None.
    """

    text: str
    remote: bool
    start: int = 0
    declared: str | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A source from an ``image_url``, ``video_url`` or ``audio_url``.

        Raises:
            InvalidMedia: another scheme than http, https and data, a malformed or overlong URL.
        """
        url = url.strip()
        head, colon, _ = url[:16].partition(":")
        scheme = head.lower() if colon else ""
        if scheme == "data":
            return cls._from_data_url(url)
        if scheme not in ("http", "https"):
            raise InvalidMedia(f"Media URL {shorten(url)!r} is not accepted: it has to be {_ACCEPTED}.")
        if len(url) > _MAX_URL_CHARS:
            raise InvalidMedia(f"Media URL is longer than {_MAX_URL_CHARS} characters.")
        return cls(url, remote=True)

    @classmethod
    def from_base64(cls, data: str, format: str | None = None) -> Self:
        """A source from ``input_audio``: base64 data and its format (``wav``, ``mp3``, ...)."""
        return cls(data, remote=False, declared=f"audio/{format.lower()[:32]}" if format else None)

    @classmethod
    def _from_data_url(cls, url: str) -> Self:
        comma = url.find(",", 0, _MAX_DATA_HEADER_CHARS)
        if comma < 0:
            raise InvalidMedia(f"Data URL {shorten(url)!r} has no comma between its media type and its data.")
        media_type, *parameters = (part.strip().lower() for part in url[len("data:") : comma].split(";"))
        if not parameters or parameters[-1] != "base64":
            raise InvalidMedia(f"Data URL {shorten(url)!r} is not in base64: only base64 data URLs are accepted.")
        return cls(url, remote=False, start=comma + 1, declared=media_type or None)

    def fingerprint(self) -> bytes:
        """SHA-256 of what the client sent, without decoding it: equal texts are equal media."""
        hasher = hashlib.sha256(f"{self.declared}\n{self.start}\n".encode())
        hasher.update(self.text.encode("utf-8", "surrogatepass"))
        return hasher.digest()

    def decode(self, max_bytes: int) -> bytes:
        """The data of a source that is not remote.

        Args:
            max_bytes: most bytes of the result; checked before anything is decoded.

        Raises:
            InvalidMedia: not base64.
            MediaTooLarge: more than ``max_bytes``.
        """
        encoded = self.text[self.start :]
        if len(encoded) * 3 // 4 > max_bytes + _PADDING_BYTES:
            _check_size(_tidy(encoded), max_bytes)
        try:
            data = pybase64.b64decode(encoded, validate=True)
        except ValueError:  # rare, and worth a second look: line breaks, percent signs, no padding
            data = self._decode_untidy(_tidy(encoded), max_bytes)
        if len(data) > max_bytes:
            raise _too_large(len(data), max_bytes)
        return data

    def _decode_untidy(self, encoded: bytes, max_bytes: int) -> bytes:
        _check_size(encoded, max_bytes)
        try:
            return pybase64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
        except ValueError as error:
            raise InvalidMedia(f"The media data is not base64: {error}.") from error


def _check_size(encoded: bytes, max_bytes: int) -> None:
    size = len(encoded) * 3 // 4
    if size > max_bytes:
        raise _too_large(size, max_bytes)


def _too_large(size: int, max_bytes: int) -> MediaTooLarge:
    return MediaTooLarge(f"The media data has {size} bytes; at most {max_bytes} are allowed.")


def _tidy(encoded: str) -> bytes:
    """Base64 without the white space, the percent signs and the padding that are allowed around it."""
    try:
        raw = encoded.encode("ascii")
    except UnicodeEncodeError as error:
        raise InvalidMedia("The media data is not base64: it has characters outside of ASCII.") from error
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    return raw.translate(None, _WHITESPACE).rstrip(b"=")


def shorten(url: str) -> str:
    """A URL for a message: the beginning of it."""
    return url if len(url) <= 100 else url[:97] + "..."
