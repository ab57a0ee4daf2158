"""What the gateway and a process that decodes say to each other, one message of a socket each.

The gateway trusts no answer: it is JSON of a bounded size, of which only known fields of known types are read, and
what was decoded is looked at for itself. Large data travels in memory files (``memfd_create``) beside the message.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from enum import StrEnum
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
from tessera.media.decoding import DecodeJob
from tessera.settings import MIB

INLINE_BYTES = 64 * 1024
"""Less than this is copied into the message rather than put into a file beside it."""

MAX_REQUEST_BYTES = 2 * INLINE_BYTES
MAX_ANSWER_BYTES = 64 * 1024

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
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Request:
    """One task.

    Attributes:
        job: without its data where that is in a file: the first beside the message.
        timeout_s: the process gives up after that.
    """

    task: Task
    job: DecodeJob
    timeout_s: float

    @classmethod
    def of(cls, task: Task, job: DecodeJob, timeout_s: float, *, apart: bool) -> Request:
        """A request; ``apart``: the data is in a file beside it."""
        return cls(task, replace(job, data=b"") if apart else job, timeout_s)

    def encode(self) -> bytes:
        """As sent. Only the gateway is believed, which is why only its messages are pickled."""
        return pickle.dumps(self, pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def decode(raw: bytes) -> Request:
        """What was sent."""
        request = pickle.loads(raw)
        assert isinstance(request, Request)
        return request


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task.

    Attributes:
        payload_bytes: sizes of the payloads, which are in the files beside the request.
        need_bytes: memory that a decoding is going to need.
        error: what was wrong with the media, as ``(class, message)``.
        undecodable: what a codec library gave up over, for the log.
        seconds: time that it took.
        packets: of videos, decoded and skipped.
        peak_bytes: most memory that the process ever held.
        cpu_s: CPU time that it has used in all.
    """

    payload_bytes: list[int] = field(default_factory=list)
    need_bytes: int = 0
    error: tuple[str, str] | None = None
    undecodable: dict[str, str] | None = None
    seconds: float = 0.0
    packets: tuple[int, int] = (0, 0)
    peak_bytes: int = 0
    cpu_s: float = 0.0

    def encode(self) -> bytes:
        """As sent."""
        return orjson.dumps(self)

    @classmethod
    def decode(cls, raw: bytes) -> Answer:
        """What was sent.

        Raises:
            ValueError: no process of ours sends this.
        """
        try:
            return cls._read(orjson.loads(raw))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError("no answer of a decoding process") from error

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


def _bounded(fields: dict[str, Any]) -> dict[str, str]:
    return {name: str(fields[name])[:_MAX_LOGGED_CHARS] for name in ("what", "error", "at") if name in fields}
