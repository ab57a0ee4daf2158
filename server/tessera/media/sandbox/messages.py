"""What the gateway and a process that decodes say to each other, one message of a socket each.

The gateway trusts no answer: it is JSON of a bounded size, of which only known fields of known types are read, and
what was decoded is looked at for itself. Data stands behind it in the same message; what is too large for one travels
in memory files (``memfd_create``), which the gateway makes.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

from tessera.errors import (
    InvalidMedia,
    MediaDecodeFailed,
    MediaDecodeTimeout,
    MediaTooLarge,
    MediaTooLong,
    MediaTypeMismatch,
    TesseraError,
)
from tessera.media.decoding import DecodeJob, Page
from tessera.media.inline import INLINE_BYTES
from tessera.media.item import MediaSpec, Modality
from tessera.media.markdown import Link
from tessera.media.sniff import Kind
from tessera.settings import MIB

HEAD_BYTES = 64 * 1024
"""The most that stands in front of the data of a message."""

MAX_MESSAGE_BYTES = HEAD_BYTES + INLINE_BYTES
"""Of all messages; larger data goes into files."""

WRITTEN = b"written"
"""Said by a process when its files are complete."""

_HEAD = struct.Struct("=I")
# Where data stands in a message, so that samples can be read where they are.
_ALIGNMENT = 16

_ERRORS: dict[str, type[TesseraError]] = {
    kind.__name__: kind
    for kind in (InvalidMedia, MediaDecodeFailed, MediaDecodeTimeout, MediaTooLarge, MediaTooLong, MediaTypeMismatch)
}
_MAX_MESSAGE_CHARS = 500
_MAX_LOGGED_CHARS = 200
_MOST_PAYLOADS = 2
_MAX_PAYLOAD_BYTES = 512 * MIB


class Task(StrEnum):
    """What is asked for."""

    MEASURE = "measure"
    PAGES = "pages"
    LINKS = "links"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Request:
    """One task, without its data: that follows it in the message, or is in a file beside it.

    Attributes:
        timeout_s: the process gives up after that.
        most_bytes: of payloads that may follow the answer; larger ones go into files.
    """

    task: Task
    modality: Modality
    kind: Kind
    spec: MediaSpec
    with_audio: bool
    timeout_s: float
    most_bytes: int
    page: Page | None = None

    def encode(self) -> bytes:
        """As sent. Only the gateway is believed, which is why only its messages are pickled."""
        return _request_head(self)

    @staticmethod
    def decode(message: bytes) -> tuple[Request, bytes]:
        """What was sent, and the data behind it."""
        (size,) = _HEAD.unpack_from(message)
        start = _HEAD.size + size
        return _request_of(message[_HEAD.size : start]), message[start:]

    def job(self, data: bytes) -> DecodeJob:
        """The task with its data."""
        return DecodeJob(self.modality, self.kind, data, self.spec, self.with_audio, self.page)


# Requests for media of one kind are alike, and to pickle one takes longer than to send it.
@lru_cache(maxsize=256)
def _request_head(request: Request) -> bytes:
    return _framed(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))


@lru_cache(maxsize=256)
def _request_of(pickled: bytes) -> Request:
    request = pickle.loads(pickled)
    assert isinstance(request, Request)
    return request


def _framed(head: bytes) -> bytes:
    head += b" " * (-(_HEAD.size + len(head)) % _ALIGNMENT)
    return _HEAD.pack(len(head)) + head


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task.

    Attributes:
        payload_bytes: sizes of the payloads, which follow, or are to be asked for with files to put them into.
        need_bytes: memory that a decoding is going to need.
        page_pixels: of a document, of each page.
        links: of a Markdown text, its images, each as ``(start, end, url, data)``.
        error: what was wrong with the media, as ``(class, message)``.
        undecodable: what a codec library gave up over, for the log.
        seconds: time that it took.
        packets: of videos, decoded and skipped.
        peak_bytes: most memory that the process ever held.
        cpu_s: CPU time that it has used in all.
    """

    payload_bytes: list[int] = field(default_factory=list)
    need_bytes: int = 0
    page_pixels: list[int] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    error: tuple[str, str] | None = None
    undecodable: dict[str, str] | None = None
    seconds: float = 0.0
    packets: tuple[int, int] = (0, 0)
    peak_bytes: int = 0
    cpu_s: float = 0.0

    def encode(self) -> bytes:
        """As sent."""
        return _framed(orjson.dumps(self))

    @classmethod
    def decode(cls, message: bytes) -> tuple[Answer, list[memoryview]]:
        """What was sent, and the payloads that follow.

        Raises:
            ValueError: no process of ours sends this.
        """
        view = memoryview(message)
        try:
            (size,) = _HEAD.unpack_from(view)
            answer = cls._read(orjson.loads(view[_HEAD.size : _HEAD.size + size]))
        except (struct.error, orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError("no answer of a decoding process") from error
        start = _HEAD.size + size
        return answer, answer._payloads(view[start:]) if len(view) > start else []

    def _payloads(self, view: memoryview) -> list[memoryview]:
        payloads, start = [], 0
        for size in self.payload_bytes:
            payloads.append(view[start : start + size])
            start += size
        if start != len(view):
            raise ValueError("payloads of another size")
        return payloads

    @classmethod
    def _read(cls, sent: dict[str, Any]) -> Answer:
        sizes = [_whole(size) for size in sent["payload_bytes"]]
        if len(sizes) > _MOST_PAYLOADS or max(sizes, default=0) > _MAX_PAYLOAD_BYTES:
            raise ValueError("no payloads of a decoding process")
        undecodable = sent["undecodable"]
        decoded, skipped = sent["packets"]
        return cls(
            payload_bytes=sizes,
            need_bytes=_whole(sent["need_bytes"]),
            page_pixels=[_whole(pixels) for pixels in sent["page_pixels"]],
            links=[_link(**link) for link in sent["links"]],
            error=None if sent["error"] is None else (str(sent["error"][0]), str(sent["error"][1])),
            undecodable=None if undecodable is None else _bounded(undecodable),
            seconds=max(float(sent["seconds"]), 0.0),
            packets=(_whole(decoded), _whole(skipped)),
            peak_bytes=_whole(sent["peak_bytes"]),
            cpu_s=max(float(sent["cpu_s"]), 0.0),
        )

    def failure(self) -> TesseraError | None:
        """The error that the client is to see, if any."""
        if self.error is None:
            return None
        name, message = self.error
        return _ERRORS.get(name, MediaDecodeFailed)(message[:_MAX_MESSAGE_CHARS])


def describe_error(error: TesseraError) -> tuple[str, str]:
    """An error as an answer tells it."""
    return type(error).__name__, error.message


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no number of a decoding process")
    return value


def _link(start: Any, end: Any, url: Any, data: Any) -> Link:
    first, last = data
    return Link(_whole(start), _whole(end), str(url), (_whole(first), _whole(last)))


def _bounded(fields: dict[str, Any]) -> dict[str, str]:
    return {name: str(fields[name])[:_MAX_LOGGED_CHARS] for name in ("what", "error", "at") if name in fields}
