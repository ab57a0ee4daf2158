"""The event loop before all else: every stream waits for it, and what it does takes microseconds."""

from __future__ import annotations

import sys

# For how long a thread that works on large bytes may keep the interpreter once the loop wants it, seconds. Python's own
# is ten times as long, and comes with each turn in which such a thread computes.
_SWITCH_S = 0.0005


def put_event_loop_first() -> None:
    """Have other threads of this process make way for it soon."""
    sys.setswitchinterval(_SWITCH_S)
