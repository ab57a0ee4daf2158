"""Entries of a reply log: what a worker says about a job, one byte of kind and then its content.

A log is ``Head``, any number of ``Data``, then ``End``; or it stops at any place with ``Failure``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of the response, written together with its first bytes.

    Attributes:
        wait_ms: time the job waited in the queue.
        attempts: deliveries that it took.
        headers: further headers of the response that concern the client, by name in lower case.
    """

    status: int
    content_type: str
    wait_ms: int = 0
    attempts: int = 1
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As stored."""
        known: list[Any] = [self.status, self.content_type, self.wait_ms, self.attempts]
        # Only where there are some: versions that do not know them refuse an entry of five.
        return b"h" + orjson.dumps([*known, self.headers] if self.headers else known)


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the response's body."""

    body: bytes

    def encode(self) -> bytes:
        """As stored."""
        return self.stored(self.body)

    @staticmethod
    def stored(body: bytes) -> bytes:
        """What ``Data(body)`` is stored as, without an object for every token."""
        return b"d" + body


@dataclass(frozen=True, slots=True)
class End:
    """The response is complete.

    Attributes:
        usage: vLLM's usage object, empty where it gave none.
        error: status and code of the error that the response is, or that its stream ended with.
        resumed: a worker died in its middle, and another went on.
        attempts: deliveries that it then took; 0: the head says it.
    """

    usage: dict[str, Any] = field(default_factory=dict)
    error: tuple[int, str] | None = None
    resumed: bool = False
    attempts: int = 0

    def encode(self) -> bytes:
        """As stored."""
        # Beside the usage, where versions that do not know it pass over it.
        beside: dict[str, Any] = {} if self.error is None else {"error": self.error}
        if self.resumed:
            beside |= {"resumed": True, "attempts": self.attempts}
        return b"e" + orjson.dumps({**self.usage, **beside} if beside else self.usage)


@dataclass(frozen=True, slots=True)
class Failure:
    """The server gave the job up; ``code`` is that of an eviction in ``errors``."""

    code: str
    message: str

    def encode(self) -> bytes:
        """As stored."""
        return b"x" + orjson.dumps({"code": self.code, "message": self.message})


Entry = Head | Data | End | Failure


def decode(raw: bytes) -> Entry:
    """The entry that was stored as ``raw``.

    Raises:
        ValueError: ``raw`` is no entry (another version wrote it).
    """
    kind, content = raw[:1], raw[1:]
    if kind == b"d":
        return Data(content)
    try:
        if kind == b"h":
            return _head(orjson.loads(content))
        if kind == b"e":
            return _end(orjson.loads(content))
        if kind == b"x":
            return Failure(**orjson.loads(content))
    except (IndexError, TypeError) as error:
        raise ValueError(f"reply entry of another shape: {raw[:100]!r}") from error
    raise ValueError(f"unknown kind of reply entry: {kind!r}")


def is_last(raw: bytes) -> bool:
    """Whether nothing follows an entry that was stored as ``raw``."""
    return raw[:1] in (b"e", b"x")


def _head(fields: Any) -> Head:
    head = Head(*fields)
    if not isinstance(head.headers, dict):
        raise TypeError("headers are an object")
    return head


def _end(usage: Any) -> End:
    if not isinstance(usage, dict):
        raise TypeError("usage is an object")
    error, resumed, attempts = usage.pop("error", None), usage.pop("resumed", False), usage.pop("attempts", 0)
    return End(usage, None if error is None else (error[0], error[1]), resumed, attempts)
