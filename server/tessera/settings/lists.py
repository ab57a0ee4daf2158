"""Settings that hold several things."""

from __future__ import annotations


def listed(value: str) -> list[str]:
    """What stands between a value's commas."""
    return [item for part in value.split(",") if (item := part.strip())]
