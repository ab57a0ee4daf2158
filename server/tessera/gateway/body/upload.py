"""A request's body as it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tessera.errors import RequestTooLarge


async def read_body(chunks: AsyncIterator[bytes], declared: str | None, most_bytes: int) -> bytearray:
    """All of the body.

    Args:
        chunks: the body as it arrives.
        declared: the Content-Length header.
        most_bytes: limit, checked before and while reading.

    Raises:
        RequestTooLarge.
    """
    if declared is not None and declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    # Grows in place: joining chunks would copy all of a large body in one step.
    body = bytearray()
    async for chunk in chunks:
        if len(body) + len(chunk) > most_bytes:
            raise _too_large(most_bytes)
        body += chunk
    return body


def _too_large(most_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request body is larger than {most_bytes:,} bytes. Send large media as URLs instead of data URLs."
    )
