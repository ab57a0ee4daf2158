"""Bodies of a reply's entries on their way out."""

from __future__ import annotations

import re
from typing import Protocol

from tessera.gateway.event_ids import beyond_end

_EVENT_END = b"\n\n"
_NUMBER = re.compile(rb'"sequence_number":(\d{1,9})')


class Pieces(Protocol):
    """What bodies go through.

    Attributes:
        next_number: of the event that would follow, where events have numbers.
    """

    next_number: int

    def add(self, at: int, body: bytes) -> None:
        """Take the body of entry number ``at``."""

    def take(self) -> bytes:
        """What can go out now."""

    def rest(self) -> bytes:
        """What is left at the end of the reply."""


class Plain:
    """Bodies as they are."""

    next_number = 0

    def __init__(self) -> None:
        self._bodies: list[bytes] = []

    def add(self, at: int, body: bytes) -> None:
        """See ``Pieces``."""
        self._bodies.append(body)

    def take(self) -> bytes:
        """See ``Pieces``."""
        taken = b"".join(self._bodies)
        self._bodies.clear()
        return taken

    rest = take


class Sequenced:
    """Events that have numbers of their own (``sequence_number``), behind one that the client has.

    Args:
        after: the number of that; -1: it has none.
    """

    def __init__(self, after: int = -1):
        self.next_number = 0
        self._after = after
        self._events: list[bytes] = []
        self._begun = b""

    def add(self, at: int, body: bytes) -> None:
        """See ``Pieces``."""
        *events, self._begun = (self._begun + body).split(_EVENT_END)
        for event in events:
            # The last of an event's members, as vLLM writes them, or not far from it.
            if found := _NUMBER.findall(event):
                self.next_number = int(found[-1]) + 1
            if self._after < 0 or self.next_number > self._after + 1:
                self._events.append(event + _EVENT_END)

    def take(self) -> bytes:
        """See ``Pieces``."""
        taken = b"".join(self._events)
        self._events.clear()
        return taken

    def rest(self) -> bytes:
        """See ``Pieces``.

        Raises:
            ReplyDropped: the reply does not reach as far as the event that the client has.
        """
        if self._after >= self.next_number:
            raise beyond_end()
        return self.take() + self._begun
