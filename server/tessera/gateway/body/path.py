"""The way from the top of a body to a value."""

from __future__ import annotations

# Characters of one name: those of members are the client's own, and stand in messages and in the log.
_LONGEST_NAME = 64

Path = tuple[str | int, ...]
"""Names of members and indices of elements."""


def written(path: Path) -> str:
    """As error messages name it, such as ``messages[0].content``; empty for the top."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:_LONGEST_NAME]}" for step in path)
    return "".join(steps).removeprefix(".")
