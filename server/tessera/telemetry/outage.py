"""An outage is told twice: when it begins, and how long it was when it is over."""

from __future__ import annotations

import time

import structlog

log = structlog.get_logger()


class Outage:
    """What several activities of a process need and may have to do without, such as Redis.

    It begins with the first activity that fails, and is over once each one that failed has worked again.

    Args:
        begins: event that is logged when it begins, with the first error.
        ends: event that is logged when it is over, with its seconds.
        fields: logged with both.
    """

    def __init__(self, begins: str, ends: str, **fields: str):
        self._begins = begins
        self._ends = ends
        self._fields = fields
        self._failing: set[str] = set()
        self._since = 0.0

    def failed(self, activity: str, error: Exception) -> None:
        """An activity has failed because of the outage, for the first time or again."""
        if not self._failing:
            self._since = time.monotonic()
            log.warning(self._begins, **self._fields, activity=activity, error=str(error))
        self._failing.add(activity)

    def works(self, activity: str) -> None:
        """An activity has succeeded."""
        if not self._failing:
            return
        self._failing.discard(activity)
        if not self._failing:
            log.warning(self._ends, **self._fields, seconds=round(time.monotonic() - self._since, 1))
