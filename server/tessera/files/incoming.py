"""A file that is being written: counted, hashed, and gone unless it is finished."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tessera.errors import FileTooLarge
from tessera.files.record import File
from tessera.files.store import BLOCK_BYTES, FileStore, Sink
from tessera.media import SNIFF_BYTES, sniff
from tessera.telemetry import files as metrics

# What is reserved for a file holds so long, and is renewed after the first part of that.
LEASE_S = 300.0
_RENEW_AFTER_S = 30.0
_FORM_BYTES = 4096

Cover = Callable[[int], Awaitable[int]]


class Incoming:
    """Use ``incoming``.

    Args:
        cover: called with the bytes for which room has to be there, before they are written, and now and then. It says
            for how many there is.

    Attributes:
        nbytes: so far.
        head: the first of them, ``SNIFF_BYTES`` at most.
    """

    def __init__(self, sink: Sink, most_bytes: int, cover: Cover, *, reserved: int, with_md5: bool):
        self.nbytes = 0
        self.head = b""
        self._sink = sink
        self._most = most_bytes
        self._cover = cover
        self._covered = reserved
        self._covered_at = time.monotonic()
        self._block = bytearray()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None

    async def write(self, data: bytes) -> None:
        """Take a piece of up to some MiB.

        Raises:
            FileTooLarge: more than it may have.
            FilesQuotaExceeded, FilesUnavailable, QueueUnavailable
        """
        if self.nbytes + len(data) > self._most:
            raise too_large(self._most)
        self.nbytes += len(data)
        self._block += data
        if len(self._block) >= BLOCK_BYTES:
            await self.flush()

    async def finish(self) -> None:
        """Write the rest, and make all of it last."""
        await self.flush()
        await self._sink.commit()

    @property
    def sha256(self) -> str:
        """Of all that was written out, in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """The same."""
        assert self._md5 is not None, "it has to be asked for"
        return self._md5.hexdigest()

    def describe(self, file_id: str, place: str, filename: str, purpose: str, ttl_s: int) -> File:
        """The record of the file that it has become."""
        now, kind = int(time.time()), sniff(self.head)
        known = (kind.mime, kind.modality.value) if kind is not None else ("", "")
        return File(file_id, place, self.nbytes, self.sha256, filename, purpose, now, now + ttl_s, *known)

    async def flush(self) -> None:
        """Write out what has come so far."""
        if self.nbytes > self._covered or time.monotonic() - self._covered_at > _RENEW_AFTER_S:
            self._covered = await self._cover(max(self._covered, self.nbytes))
            self._covered_at = time.monotonic()
        block, self._block = self._block, bytearray()
        if not self.head:
            self.head = bytes(block[:SNIFF_BYTES])
        await asyncio.to_thread(self._hash, block)
        await self._sink.write(block)
        metrics.bytes_in.inc(len(block))

    def _hash(self, block: bytearray) -> None:
        self._sha256.update(block)
        if self._md5 is not None:
            self._md5.update(block)


@asynccontextmanager
async def incoming(
    store: FileStore, place: str, most_bytes: int, cover: Cover, *, reserved: int, with_md5: bool = False
) -> AsyncIterator[Incoming]:
    """Something that is written to a place in the store, and not there unless it is finished."""
    async with store.create(place) as sink:
        yield Incoming(sink, most_bytes, cover, reserved=reserved, with_md5=with_md5)


def at_least(expected_bytes: int | None) -> int:
    """What a file has at the least that comes in a form of so many bytes; 0 where nobody knows.

    The form's own share is not known before, and must not stand in the way of many small ones.
    """
    return max(0, (expected_bytes or 0) - _FORM_BYTES)


def too_large(most_bytes: int) -> FileTooLarge:
    """The error for whatever has more bytes than it may."""
    return FileTooLarge(f"The file has more than the {most_bytes:,} bytes that it may have.", param="file")
