"""What became of jobs that nobody looked after any more."""

from __future__ import annotations

import math
from typing import NamedTuple


class _Counts(NamedTuple):
    requeued: int
    evicted: int
    orphaned: int


class Reaped(_Counts):
    """How many of them there were.

    Attributes:
        requeued: put back into the queue, since their workers went silent.
        evicted: given up and answered, since that happened too often or too late, or since they waited too long.
        orphaned: ended, since their gateways went silent.
        next_s: when the next lease runs out, if it is not renewed, in seconds; infinite where there is none.
    """

    next_s: float = math.inf
