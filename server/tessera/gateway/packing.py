"""Large answers in one piece, such as many embeddings, compressed for clients that take that; never streams."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace

from starlette.types import Scope

from tessera.queue import Head

# Numbers in text become half as long by any level, and the first one takes a third of the time of the usual one.
_LEVEL = 1
_GZIP_BITS = 16 + zlib.MAX_WBITS
_STEP = 1 << 18


def takes_gzip(scope: Scope) -> bool:
    """Whether a request's client says that it can unpack gzip."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
    for each in accepted.lower().split(b","):
        coding, _, quality = each.partition(b";")
        if coding.strip() == b"gzip":
            return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


async def pack(head: Head, body: bytes) -> tuple[Head, bytes]:
    """A document and its head, compressed; other requests go on meanwhile."""
    packed = await asyncio.to_thread(_gzip, body)
    return replace(head, headers={**head.headers, "content-encoding": "gzip", "vary": "Accept-Encoding"}), packed


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP_BITS)
    view = memoryview(body)
    pieces = [packer.compress(view[start : start + _STEP]) for start in range(0, len(view), _STEP)]
    return b"".join([*pieces, packer.flush()])
