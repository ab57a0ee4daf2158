"""What a content part points at: a URL to fetch, a data URL, or base64 data with a format beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import base64_text
from tessera.media.buckets import SCHEMES
from tessera.media.sniff import SNIFF_BYTES

_ACCEPTED = "an http:// or https:// URL, or a data: URL in base64 (data:image/png;base64,…)"
_MAX_URL_CHARS = 8192
_MAX_DATA_HEADER_CHARS = 1024
# Of base64, what its end holds differs from file to file: samples, or checks of what stands before.
_GLANCE_CHARS = 64
_WHITESPACE = " \t\r\n\f"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
# What is looked for in the head of a data URL, where quoted values may hold anything: a comma may be part of a list of
# codecs, but not behind `;base64`.
_IN_HEADER = re.compile(r'"(?:[^"\\]|\\.)*"|(;\s*base64\s*,)|(,)', re.IGNORECASE)


class Stored(NamedTuple):
    """Bytes that are kept somewhere, and read when they are needed."""

    sha256: bytes
    nbytes: int
    read: Callable[[int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class MediaSource:
    """Use one of ``from_…``.

    Args:
        text: the URL, or the base64 data, as the client sent it.
        remote: it has to be fetched.
        start: where the base64 data starts in ``text`` (a data URL is not copied only to cut its head off).
        declared: media type that comes with the data, lower case and without parameters, or None.
        stored: what was uploaded before; the text is empty then.
    """

    text: str
    remote: bool
    start: int = 0
    declared: str | None = None
    stored: Stored | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A source from an ``image_url``, ``video_url`` or ``audio_url``.

        Raises:
            InvalidMedia: another scheme than http, https, data, s3 and gs, a malformed or overlong URL.
        """
        url = url.strip(_WHITESPACE)
        found = _SCHEME.match(url)
        scheme = found[1].lower() if found else None
        if scheme == "data":
            return cls._from_data_url(url)
        if scheme not in ("http", "https", *SCHEMES):
            # Nothing of it is shown: it may be data whose head somebody forgot.
            given = f"A media URL with the scheme {scheme!r}" if scheme else "A media URL without a scheme"
            raise InvalidMedia(f"{given} is not accepted: it has to be {_ACCEPTED}.")
        if len(url) > _MAX_URL_CHARS:
            raise InvalidMedia(f"The media URL is longer than {_MAX_URL_CHARS} characters.")
        return cls(url, remote=True)

    @classmethod
    def from_base64(cls, data: str, format: str | None = None) -> Self:
        """A source from ``input_audio``: base64 data, or a data URL, and its format (``wav``, ``mp3``, ...).

        Raises:
            InvalidMedia: a malformed data URL.
        """
        if data[: len("data:")].lower() == "data:":
            return cls._from_data_url(data)
        return cls(data, remote=False, declared=_media_type(f"audio/{format or ''}"))

    @classmethod
    def from_file_data(cls, data: str) -> Self:
        """A source from ``file_data``: base64 data, or a data URL. What it holds, it has to tell itself (``head``).

        Raises:
            InvalidMedia: a malformed data URL.
        """
        source = cls._from_data_url(data) if data[: len("data:")].lower() == "data:" else cls(data, remote=False)
        return replace(source, declared=None)

    @classmethod
    def from_store(cls, sha256: bytes, nbytes: int, read: Callable[[int], Awaitable[bytes]]) -> Self:
        """A source from what was uploaded before.

        Args:
            sha256: digest of its bytes.
            nbytes: their number.
            read: gives them, up to a limit, or raises ``MediaTooLarge``.
        """
        return cls("", remote=False, stored=Stored(sha256, nbytes, read))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """A source from a text."""
        data = text.encode("utf-8", "replace")

        async def read(max_bytes: int) -> bytes:
            if len(data) > max_bytes:
                raise MediaTooLarge(f"The text has {len(data)} bytes; at most {max_bytes} are allowed.")
            return data

        return cls.from_store(hashlib.sha256(data).digest(), len(data), read)

    @classmethod
    def _from_data_url(cls, url: str) -> Self:
        comma = 0
        for found in _IN_HEADER.finditer(url, len("data:"), _MAX_DATA_HEADER_CHARS):
            if found[1]:
                declared = _media_type(url[len("data:") : found.start()].partition(";")[0])
                return cls(url, remote=False, start=found.end(), declared=declared)
            comma = comma or (found.start() if found[2] else 0)
        if comma:
            raise InvalidMedia("The data URL is not in base64: `;base64` has to stand in front of the comma.")
        raise InvalidMedia("The data URL has no comma between its media type and its data.")

    @property
    def encoded(self) -> str:
        """The base64 text of a source that is not remote."""
        return self.text[self.start :]

    @property
    def most_bytes(self) -> int:
        """The most that a source that is not remote can be when it is decoded."""
        return (len(self.text) - self.start) * 3 // 4 if self.stored is None else self.stored.nbytes

    def fingerprint(self) -> bytes:
        """SHA-256 of what the client sent, without decoding or reading it: equal texts are equal media."""
        if self.stored is not None:
            return self.stored.sha256
        hasher = hashlib.sha256(f"{self.declared}\n{self.start}\n".encode())
        for place in range(0, len(self.text), base64_text.STEP_CHARS):
            hasher.update(self.text[place : place + base64_text.STEP_CHARS].encode("utf-8", "surrogatepass"))
        return hasher.digest()

    def glance(self) -> tuple[object, ...] | None:
        """What different texts nearly never share, for next to nothing; None where there is no text to hash."""
        return None if self.stored is not None else (len(self.text), self.start, self.text[-_GLANCE_CHARS:])

    def head(self) -> bytes:
        """The first bytes of a source that is not remote; fewer where its text cannot be read."""
        return base64_text.decode_head(self.text[self.start : self.start + 4 * SNIFF_BYTES], SNIFF_BYTES)

    def decode(self, max_bytes: int) -> bytes:
        """The data of a source that is not remote.

        Args:
            max_bytes: most bytes of the result; checked before anything is decoded.

        Raises:
            InvalidMedia: not base64.
            MediaTooLarge: more than ``max_bytes``.
        """
        return base64_text.decode(self.text, max_bytes, start=self.start)


def _media_type(given: str) -> str | None:
    """A media type that may be shown, or None where it is not one."""
    given = given.strip().lower()
    return given if _MEDIA_TYPE.fullmatch(given) else None
