"""Waiting for a condition, with a deadline and without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], bool | Awaitable[bool]], what: str, *, within_s: float = 30.0) -> None:
    """Poll until the condition holds; fail with ``what`` after ``within_s``."""
    deadline = time.monotonic() + within_s
    while True:
        held = condition()
        if isinstance(held, Awaitable):
            held = await held
        if held:
            return
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


def eventually_sync(condition: Callable[[], bool], what: str, *, within_s: float = 30.0) -> None:
    """The same outside of an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)
