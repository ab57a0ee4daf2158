"""A job's reply log: what is written to it, a reader's place in it, and what stands behind that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Append:
    """New entries of one job's reply.

    Attributes:
        offset: number of entries written before these.
        final: the reply is complete.
        steps: what the engine gave for these entries, for whoever may have to go on behind them.
        counted: bytes of the reply, and of steps, that are to be counted with these; None: their own. To count now and
            then is enough, and costs less than to count each token.
    """

    job_id: str
    epoch: int
    offset: int
    entries: Sequence[bytes]
    final: bool
    steps: bytes = b""
    counted: tuple[int, int] | None = None


class Unwritten(list[str]):
    """Ids of jobs that the caller of ``append`` no longer holds.

    Attributes:
        held_back: those of others, for whose entries there is no room now: replies take ``TESSERA_MAX_REPLY_BYTES``.
    """

    held_back: Sequence[str] = ()
