"""Pieces of files that the server itself writes, in parts and over hours: no tenant sees one."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from tessera.files.record import new_id, place_of
from tessera.files.store import FileStore


class Segments:
    """Bytes by place. What nobody deletes is swept once its time is over. Methods raise ``FilesUnavailable``."""

    def __init__(self, store: FileStore):
        self._store = store

    async def write(self, data: bytes, *, ttl_s: int) -> str:
        """Keep some bytes, for so long at the least. Returns their place."""
        place = place_of(new_id("part_"), ttl_s)
        async with self._store.create(place) as sink:
            await sink.write(data)
            await sink.commit()
        return place

    def read(self, place: str, nbytes: int) -> AsyncGenerator[bytes, None]:
        """All of them, in pieces."""
        return self._store.read(place, 0, nbytes)

    async def delete(self, place: str) -> None:
        """They are needed no longer."""
        await self._store.delete(place)
