"""Payloads beside Redis: in a directory that gateways and workers share, or in object storage."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tessera.errors import MediaStoreUnavailable
from tessera.media.store_errors import unavailable
from tessera.settings import Settings
from tessera.storage import open_storage
from tessera.telemetry.outage import Outage

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_LISTING_S = 600.0
_MOST_LISTED = 10_000
# Nothing else is ever deleted, whatever lies beside it.
_NAME = re.compile(r"([0-9a-f]{64})-[0-9a-f]{16}")
# How a directory's files are called until they are complete.
_INCOMPLETE = re.compile(r"[0-9a-f]{64}-[0-9a-f]{16}#\d+")


class MediaStoreUnusable(Exception):
    """``TESSERA_MEDIA_STORE_URL`` names what cannot be opened; with the reason."""


class MediaObjects:
    """One object for each time that a payload is sent: its name is never used again, so no deletion can hit another.

    Methods raise ``MediaStoreUnavailable``.

    Args:
        settings: ``media_store_url``, and the prefix of Redis, so that what stands in other books is left alone.

    Raises:
        MediaStoreUnusable: there is no such place.
    """

    def __init__(self, settings: Settings):
        self._url = settings.media_store_url
        self._folder = re.sub(r"[^A-Za-z0-9_-]", "_", settings.redis_prefix) + "-media"
        self._timeout_s = settings.redis_timeout_s + settings.media_transfer_timeout_s
        self._outage = Outage("media_objects_unreachable", "media_objects_reached")
        try:
            self._store: ObjectStore = open_storage(self._url, timeout_s=self._timeout_s)
        except (OSError, ValueError) as error:
            raise MediaStoreUnusable(
                f"TESSERA_MEDIA_STORE_URL: {self._url} cannot be opened: {_first_line(error)}"
            ) from error

    @staticmethod
    def new_name(digest: str) -> str:
        """A name for a payload that is about to be sent."""
        return f"{digest}-{secrets.token_hex(8)}"

    async def write(self, name: str, payload: bytes | memoryview) -> None:
        """Store a payload: all of it is there then, or nothing."""
        import obstore

        async with self._calls():
            # In one request: of several that were broken off, parts would stay that nobody sees and somebody pays for.
            await obstore.put_async(self._store, self._path(name), payload, use_multipart=False)

    async def read(self, name: str) -> memoryview | None:
        """A payload; None where it is not there."""
        import obstore

        async with self._calls():
            try:
                found = await obstore.get_async(self._store, self._path(name))
                return memoryview(await found.bytes_async())
            except FileNotFoundError:
                return None

    async def delete(self, names: Iterable[str]) -> None:
        """Remove payloads; what is not there is removed."""
        import obstore

        for name in names:
            async with self._calls():
                try:
                    await obstore.delete_async(self._store, self._path(name))
                except FileNotFoundError:
                    continue

    async def older_than(self, when: datetime) -> list[tuple[str, str]]:
        """Digests and names of what was written before a time; of very many, some."""
        import obstore

        found: list[tuple[str, str]] = []
        async with self._calls(_LISTING_S):
            async for listed in obstore.list(self._store, self._folder + "/", chunk_size=500):
                for item in listed:
                    name = item["path"].rpartition("/")[2]
                    if (known := _NAME.fullmatch(name)) and item["last_modified"] < when:
                        found.append((known[1], name))
                if len(found) >= _MOST_LISTED:
                    break
        return found

    async def delete_incomplete(self, when: datetime) -> None:
        """Remove what gateways that died had begun to write into a directory before a time."""
        if not self._url.startswith("file://"):
            return
        folder = Path(unquote(urlsplit(self._url).path)) / self._folder

        def delete() -> None:
            for file in folder.glob("*#*"):
                if _INCOMPLETE.fullmatch(file.name) and file.stat().st_mtime < when.timestamp():
                    file.unlink(missing_ok=True)

        async with self._calls():
            await asyncio.to_thread(delete)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    @asynccontextmanager
    async def _calls(self, limit_s: float | None = None) -> AsyncIterator[None]:
        from obstore.exceptions import BaseError

        try:
            async with asyncio.timeout(limit_s or self._timeout_s):
                yield
        except (BaseError, OSError, ValueError) as error:
            # What follows in an object storage's own words is for whoever debugs the library.
            self._outage.failed("objects", MediaStoreUnavailable(_first_line(error)))
            raise unavailable() from error
        self._outage.works("objects")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
