"""Where the bytes of files are: any place that all gateways see."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tessera.errors import FilesUnavailable

READ_BYTES = 1024 * 1024
"""Most bytes of one piece that is read."""

BLOCK_BYTES = 1024 * 1024
"""So much of a file is collected in memory, and is hashed and written at once."""


class Sink(Protocol):
    """Something that is being written, and is not there for anybody until it is complete."""

    async def write(self, block: bytes | bytearray) -> None:
        """Write a piece. Raises ``FilesUnavailable``."""
        ...

    async def commit(self) -> None:
        """Make it last, and be there under its name. Raises ``FilesUnavailable``."""
        ...


class FileStore(Protocol):
    """Bytes by name, ``folder/name``; both are ours, and never a client's.

    Attributes:
        room_bytes: what one file takes of the memory while it is written, besides the block that is collected for it.
    """

    room_bytes: int

    def create(self, name: str) -> AbstractAsyncContextManager[Sink]:
        """Write something; without ``commit`` nothing is left of it when the context ends."""
        ...

    def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` up to ``end``, in pieces of up to ``READ_BYTES``.

        Raises:
            FilesUnavailable: it is not there, or not all of it.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove something; what is not there is removed. Raises ``FilesUnavailable``."""
        ...

    async def sweep(self, before: str) -> int:
        """Remove what is left over: folders whose names sort before a day, and what nobody goes on writing.

        Returns:
            How many things were removed.

        Raises:
            FilesUnavailable: it cannot be reached.
        """
        ...


def unavailable() -> FilesUnavailable:
    """What a client hears of any failure of a store; the log has the reason."""
    return FilesUnavailable("The store of files does not answer as it should. Retry in a few seconds.", retry_after_s=5)
