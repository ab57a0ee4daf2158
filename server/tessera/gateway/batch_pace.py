"""When the next line of a batch begins, and when answers are kept."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

# What lines cost this process comes in pieces, and people's requests in between.
LEAST_S = 0.001
# Longer than engines take for a step; what is further apart meets in no step.
MOST_S = 0.05
# Of the time in which all that may run at once would begin evenly: lines that end later than most leave room unused.
_EVENLY = 0.9
# Of the time that a line takes, for which its answer may wait for others.
_GATHER = 1 / 32
# Weight of the newest line in what one takes.
_NEWEST = 1 / 8


class Pace:
    """Lines begin evenly over the time that one takes, and so they end, and the next ones begin.

    Those that begin together would all have their prompts computed in the same step of an engine, which is longer for
    everybody in it, and would meet again in each step up to their ends, and once more with those that follow them.

    Args:
        at_once: lines that may wait or run at once.
    """

    def __init__(self, at_once: int):
        self._at_once = at_once
        self._takes_s = 0.0

    def begin(self, line: asyncio.Task[Any]) -> None:
        """One has begun."""
        line.add_done_callback(partial(self._ended, time.monotonic()))

    @property
    def pause_s(self) -> float:
        """Between the beginnings of two lines."""
        return min(max(LEAST_S, _EVENLY * self._takes_s / self._at_once), MOST_S)

    @property
    def gather_s(self) -> float:
        """For how long an answer waits for others: to keep many costs Redis and this process about as much as one."""
        return min(_GATHER * self._takes_s, MOST_S)

    def _ended(self, began: float, _: asyncio.Task[Any]) -> None:
        self._takes_s += _NEWEST * (time.monotonic() - began - self._takes_s)
