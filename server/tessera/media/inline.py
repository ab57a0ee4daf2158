"""Work on bytes, where it costs least: small work in the event loop, the rest in a thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

INLINE_BYTES = 256 * 1024
"""Hashing, copying or base64-decoding less than this is quicker than handing it to a thread and back."""


async def run(work: Callable[[], _T], nbytes: int) -> _T:
    """Do some work on so many bytes."""
    return work() if nbytes <= INLINE_BYTES else await asyncio.to_thread(work)


async def sha256(data: bytes) -> bytes:
    """The SHA-256 digest of some data."""
    return await run(lambda: hashlib.sha256(data).digest(), len(data))
