"""Ids of a stream's events, by which a client whose connection broke goes on behind the last one that it has.

An id is a place in the job's reply log: the entry in which the event ends, and the number of events that end in that
entry, this one included. So whoever goes on from it reads the log from that entry on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from tessera.errors import InvalidRequest, ReplyDropped

_ID = re.compile(r"(\d{1,9})-([1-9]\d{0,8})", re.ASCII)
_EVENT_END = b"\n\n"


@dataclass(frozen=True, slots=True)
class EventId:
    """Where an event ends; ``EventId(0, 0)`` is before the first."""

    entry: int
    events: int

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """From what a client sent.

        Args:
            name: of the header or parameter that it stood in.

        Raises:
            InvalidRequest: it is none.
        """
        found = _ID.fullmatch(text)
        if found is None:
            raise InvalidRequest(f"`{name}` must be the `id` of an event of this request, as `12-1`.", param=name)
        return cls(int(found[1]), int(found[2]))


BEGINNING = EventId(0, 0)


class Numbered:
    """Gives events their ids, and leaves out those that the client has.

    Args:
        after: the last event that the client has.
    """

    next_number = 0

    def __init__(self, after: EventId = BEGINNING):
        self._after = after
        self._events: list[bytes] = []
        # The beginning of an event that ends in a later entry: until then its id is not known.
        self._begun = b""

    def add(self, at: int, body: bytes) -> None:
        """Take the body of the log's entry number ``at``.

        Raises:
            ReplyDropped: it ends fewer events than the client has of it.
        """
        *events, rest = body.split(_EVENT_END)
        had = self._after.events if at == self._after.entry else 0
        if had > len(events):
            raise beyond_end()
        if had:
            self._begun = b""
        for number, event in enumerate(events[had:], had + 1):
            self._events.append(b"id: %d-%d\n%b%b%b" % (at, number, self._begun, event, _EVENT_END))
            self._begun = b""
        self._begun += rest

    def take(self) -> bytes:
        """All events that are complete."""
        taken = b"".join(self._events)
        self._events.clear()
        return taken

    def rest(self) -> bytes:
        """What is left at the end of the reply, also of an event that was cut short."""
        return self.take() + self._begun


def beyond_end() -> ReplyDropped:
    """The error for an id of an event that the log does not hold."""
    return ReplyDropped(
        "The answer does not reach as far as the event of this id. Read it from its beginning, without an id."
    )
