"""The files of all tenants: received, found, read, and removed when their time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis.asyncio as aioredis
import structlog

from tessera.errors import FileMissing, FilesQuotaExceeded, FilesUnavailable, QueueUnavailable
from tessera.files.directory import DirectoryStore
from tessera.files.incoming import LEASE_S, Incoming, at_least, incoming
from tessera.files.ledger import Ledger
from tessera.files.objects import ObjectsStore
from tessera.files.record import File, day_of, is_file_id, new_id, place_of
from tessera.files.segments import Segments
from tessera.files.store import BLOCK_BYTES, FileStore, unavailable
from tessera.files.uploads import Uploads
from tessera.settings import MIB, Settings
from tessera.telemetry import files as metrics

log = structlog.get_logger()

PURGE_EVERY_S = 30.0
SWEEP_EVERY_S = 600.0
# Room is reserved in steps.
STEP_BYTES = 8 * MIB


class Files:
    """One store, and the books beside it.

    Args:
        ledger: the books.
        store: the bytes.
        settings: limits.

    Attributes:
        uploads: files that come in parts.
        segments: what the server itself writes of files, bit by bit.
        most_bytes: of one file.
        longest_s: how long a file is kept, unless its client wants less.
        room_bytes: what one takes of the memory while it comes.
    """

    def __init__(self, ledger: Ledger, store: FileStore, settings: Settings):
        self.most_bytes = settings.files_max_bytes
        self.longest_s = settings.files_ttl_s
        self.room_bytes = BLOCK_BYTES + store.room_bytes
        self.uploads = Uploads(ledger, store, settings)
        self.segments = Segments(store)
        self._ledger = ledger
        self._store = store

    @asynccontextmanager
    async def receiving(self, tenant: str, expected_bytes: int | None) -> AsyncIterator[Receipt]:
        """A file that is being received; without ``Receipt.finish`` nothing is left of it.

        Args:
            expected_bytes: length of the form that it comes in, where that is known.

        Raises:
            FilesQuotaExceeded, FilesUnavailable, QueueUnavailable
        """
        file_id, most = new_id("file-"), self.most_bytes
        place = place_of(file_id, self.longest_s)
        reserved = min(most, at_least(expected_bytes))
        cover = partial(self._cover, tenant, file_id, place)
        await self._ledger.reserve(tenant, file_id, reserved, lease_s=LEASE_S, place=place)
        receipt: Receipt | None = None
        try:
            async with incoming(self._store, place, most, cover, reserved=reserved) as written:
                receipt = Receipt(self._ledger, self._store, tenant, file_id, place, written)
                yield receipt
        finally:
            if receipt is None or receipt.file is None:
                metrics.broken_off.inc()
                # Otherwise it is over when what was reserved for it is.
                with suppress(QueueUnavailable):
                    await self._ledger.remove(tenant, file_id)

    async def find(self, tenant: str, file_id: str) -> File:
        """A tenant's file.

        Raises:
            FileMissing: there is none of that id, or it is another tenant's.
        """
        found = await self.find_all(tenant, [file_id])
        if not found:
            raise FileMissing("There is no file of this id, or no longer.", param="file_id")
        return found[file_id]

    async def find_all(self, tenant: str, file_ids: Iterable[str]) -> dict[str, File]:
        """Those of some files that there are."""
        ids = [file_id for file_id in file_ids if is_file_id(file_id)]
        return await self._ledger.find(tenant, ids) if ids else {}

    async def page(
        self, tenant: str, *, limit: int, after: str, newest_first: bool, purpose: str
    ) -> tuple[list[File], bool]:
        """A tenant's files in the order of their making, and whether there are more.

        Args:
            after: id behind which they begin; empty: at the beginning.
            purpose: only those; empty: all.
        """
        found: list[File] = []
        at: str | None = after
        while at is not None and len(found) <= limit:
            some, at = await self._ledger.page(tenant, after=at, newest_first=newest_first)
            found += [file for file in some if purpose in ("", file.purpose)]
        return found[:limit], len(found) > limit

    async def read(self, file: File, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """A file's bytes, in pieces. Raises ``FilesUnavailable``."""
        async with aclosing(self._store.read(file.place, start, file.nbytes if end is None else end)) as pieces:
            async for piece in pieces:
                metrics.bytes_out.inc(len(piece))
                yield piece

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a tenant's file. Raises ``FileMissing``."""
        await self.find(tenant, file_id)
        if (place := await self._ledger.remove(tenant, file_id)) is not None:
            # It is gone for its tenant; what is not removed now is by `run`.
            with suppress(FilesUnavailable, QueueUnavailable):
                await self._bury(tenant, [place])

    async def run(self) -> None:
        """Remove what is over, until cancelled."""
        swept = -SWEEP_EVERY_S
        while True:
            with suppress(FilesUnavailable, QueueUnavailable):
                for tenant in await self._ledger.tenants():
                    while doomed := await self._ledger.doomed(tenant):
                        await self._bury(tenant, doomed)
                if time.monotonic() - swept >= SWEEP_EVERY_S:
                    swept = time.monotonic()
                    if count := await self._store.sweep(day_of(time.time())):
                        metrics.removed.inc(count)
                        log.info("left_over_files_removed", count=count)
            await asyncio.sleep(PURGE_EVERY_S)

    async def _bury(self, tenant: str, places: list[str]) -> None:
        for place in places:
            await self._store.delete(place)
        await self._ledger.buried(tenant, places)
        metrics.removed.inc(len(places))

    async def _cover(self, tenant: str, file_id: str, place: str, nbytes: int) -> int:
        """Reserve room for a file that comes, some more than it needs now if that is there."""
        keep = partial(self._ledger.reserve, tenant, file_id, lease_s=LEASE_S, place=place, new=False)
        more = min(self.most_bytes, nbytes + STEP_BYTES)
        try:
            known = await keep(more)
        except FilesQuotaExceeded:
            more = nbytes
            known = await keep(more)
        if not known:
            raise unavailable()  # it took too long, and its room was given away
        return more


@dataclass
class Receipt:
    """A file that is being received.

    Attributes:
        content: takes its bytes.
        file: it, once it is there.
    """

    ledger: Ledger
    store: FileStore
    tenant: str
    file_id: str
    place: str
    content: Incoming
    file: File | None = None

    async def finish(self, *, filename: str, purpose: str, ttl_s: int) -> File:
        """All of it has come. Raises ``FilesUnavailable`` or ``QueueUnavailable``."""
        await self.content.finish()
        file = self.content.describe(self.file_id, self.place, filename, purpose, ttl_s)
        try:
            await self.ledger.commit(self.tenant, file)
        except FilesUnavailable:
            # It came too late: what was reserved for it may have been cleared up before it was there.
            await self.store.delete(self.place)
            raise
        self.file = file
        return file


def open_files(redis: aioredis.Redis, settings: Settings) -> Files | None:
    """The files that the settings name a store for, or None.

    Raises:
        ValueError: it cannot be opened.
    """
    url = settings.files_store_url
    if not url:
        return None
    store: FileStore = DirectoryStore(Path(unquote(urlsplit(url).path)))
    if not url.startswith("file://"):
        store = ObjectsStore(url, timeout_s=settings.files_request_timeout_s)
    return Files(Ledger(redis, settings), store, settings)
