"""Server-sent events, cut out of a stream of bytes (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLANK_LINE = re.compile(rb"\n\r?\n")


class EventSplitter:
    """Cuts a stream into its events, wherever its writes begin and end.

    An event is all bytes up to and with the blank line that ends it, so that events joined are the stream. Lines end
    with LF or CRLF; a lone CR, which the specification allows too, nobody sends.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are complete with ``data``."""
        begin, searched = 0, max(len(self._rest) - 2, 0)
        self._rest += data
        events = []
        while blank := _BLANK_LINE.search(self._rest, searched):
            searched = blank.end()
            events.append(bytes(self._rest[begin:searched]))
            begin = searched
        del self._rest[:begin]
        return events

    @property
    def rest(self) -> bytes:
        """What came after the last complete event."""
        return bytes(self._rest)


def data_of(event: bytes) -> bytes:
    """The data of an event; empty where it has none."""
    lines = (line for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(line[len(b"data:") :].removeprefix(b" ") for line in lines)


def is_comment(event: bytes) -> bool:
    """Whether nothing stands in an event that a client would see."""
    return all(line.startswith(b":") for line in event.splitlines() if line)


def pieces(stream: bytes, most_bytes: int) -> Iterator[bytes]:
    """Cut a stream into pieces of about ``most_bytes``, but not inside the line ends that end an event."""
    begin = 0
    while len(stream) - begin > most_bytes:
        cut = begin + most_bytes
        if blank := _BLANK_LINE.search(stream, max(cut - 2, begin), cut + 2):
            cut = max(cut, blank.end())
        yield stream[begin:cut]
        begin = cut
    yield stream[begin:]
