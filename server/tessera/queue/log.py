"""A reader's place in a job's reply log, and what stands behind it."""

from __future__ import annotations

import sys
from typing import NamedTuple

# Bytes that an entry costs its reader beside its content: an object, and places in lists.
ENTRY_COST_BYTES = 128


class Place(NamedTuple):
    """Where somebody reads.

    Attributes:
        offset: entries that the reader has.
        room: bytes that it has room for; where there is any, it gets at least one entry.
    """

    model: str
    job_id: str
    offset: int = 0
    room: int = sys.maxsize >> 12  # exact in Lua, whose numbers are doubles


class Part(NamedTuple):
    """What a log holds.

    Attributes:
        entries: those behind the reader's, as many as it has room for.
        length: of the whole log, in entries.
        first: its first entry; None: there is no log.
        state: the job's (see ``Record``), whose reply may not have begun; None: the job is not known.
    """

    entries: list[bytes]
    length: int
    first: bytes | None
    state: bytes | None
