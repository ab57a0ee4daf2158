"""A request's body as it arrives."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from tessera import compression
from tessera.errors import (
    DamagedContentEncoding,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from tessera.gateway.body.document import INLINE_BYTES
from tessera.gateway.body.room import Share

# Characters of what a client sent that are shown to it.
_SHOWN = 64
_BLOCK_BYTES = 64 * 1024


async def read_body(request: Request, share: Share, *, most_bytes: int, limit_s: float) -> bytes | bytearray:
    """All of the body, unpacked.

    Args:
        share: of the gateway's room for bodies; it grows with what arrives.
        most_bytes: limit, checked before and while reading, and while unpacking.
        limit_s: longest arrival, without waiting for room.

    Raises:
        UnsupportedMediaType, UnsupportedContentEncoding: it is not read at all.
        RequestTooLarge, RequestTimeout, BodyMemoryFull, DamagedContentEncoding, ClientDisconnect.
    """
    _check_type(request.headers.getlist("content-type"))
    coding = _coding(",".join(request.headers.getlist("content-encoding")))
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    # Joined at the end, a large body in a thread: one that grows is moved now and then, which holds up everybody else.
    blocks: list[bytes] = []
    rest = bytearray()
    nbytes = 0
    clock = asyncio.get_running_loop().time
    end = clock() + limit_s
    async for chunk in request.stream():
        nbytes += len(chunk)
        if nbytes > most_bytes:
            raise _too_large(most_bytes)
        # That it arrives at all is seen to by the connection, which ends at a gap.
        if clock() > end:
            raise RequestTimeout(f"The request's body did not arrive in {limit_s:g} s.")
        end += await share.grow(len(chunk))
        if not rest and len(chunk) >= _BLOCK_BYTES:
            blocks.append(chunk)
            continue
        # Of small chunks each would take more than its bytes.
        rest += chunk
        if len(rest) >= _BLOCK_BYTES:
            blocks.append(bytes(rest))
            rest.clear()
    blocks.append(bytes(rest))
    body = await _joined(blocks, nbytes)
    del blocks
    if coding is None:
        return body
    # How long it is unpacked nobody knows before.
    await share.grow(most_bytes)
    unpacked = await asyncio.to_thread(_unpack, body, coding, most_bytes)
    share.shrink(len(unpacked))
    return unpacked


async def _joined(blocks: list[bytes], nbytes: int) -> bytes:
    if len(blocks[0]) == nbytes:
        return blocks[0]
    return b"".join(blocks) if nbytes <= INLINE_BYTES else await asyncio.to_thread(b"".join, blocks)


def _check_type(types: list[str]) -> None:
    """A page of any site may send other types than JSON's to a server on its reader's machine, unasked."""
    if not types:
        raise UnsupportedMediaType("The request has no content type. Send the header `Content-Type: application/json`.")
    for value in types:
        name = value.partition(";")[0].strip().lower()
        if name != "application/json" and not (name.startswith("application/") and name.endswith("+json")):
            hint = " (curl's `-d` sends this one unless told otherwise)" if name.endswith("form-urlencoded") else ""
            raise UnsupportedMediaType(
                f"The request came as {name[:_SHOWN]!r}{hint}. Send JSON, with the header "
                "`Content-Type: application/json`."
            )


def _coding(header: str) -> str | None:
    try:
        return compression.read_coding(header)
    except compression.UnknownCoding as named:
        raise UnsupportedContentEncoding(
            f"Request bodies in content encoding {str(named)!r} cannot be read. Send them as they are, or with gzip, "
            "deflate or zstd."
        ) from None


def _unpack(body: bytes | bytearray, coding: str, most_bytes: int) -> bytearray:
    try:
        return compression.decompress(body, coding, most_bytes)
    except compression.Damaged as error:
        raise DamagedContentEncoding(
            f"The request says that its body is in content encoding {coding!r}, but {error}."
        ) from error
    except compression.TooLong:
        raise _too_large(most_bytes) from None


def _too_large(most_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request body is larger than {most_bytes:,} bytes. Send large media as URLs instead of data URLs."
    )
