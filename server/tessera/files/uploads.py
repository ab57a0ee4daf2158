"""Large files in parts: each part is stored as it comes, and in the end one file is made of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import structlog

from tessera.errors import (
    FileTooLarge,
    QueueUnavailable,
    UploadIncomplete,
    UploadMissing,
    UploadNotPending,
)
from tessera.files.incoming import Incoming, at_least, incoming
from tessera.files.ledger import MOST_PARTS, Ledger
from tessera.files.record import File, Upload, is_id, new_id, place_of
from tessera.files.store import FileStore
from tessera.settings import MIB, Settings
from tessera.telemetry import files as metrics

log = structlog.get_logger()

MOST_PART_BYTES = 64 * MIB
# A gateway that makes a file of parts for longer has died.
CLAIM_S = 900.0
_GONE, _NOT_PENDING, _NO_ROOM, _TOO_MANY = 0, -1, -2, -3


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has come."""

    id: str
    upload_id: str
    created_s: int


class Uploads:
    """The uploads of all tenants. Methods raise ``QueueUnavailable`` where Redis cannot be reached.

    Args:
        ledger: the books.
        store: the bytes.
        settings: limits.
    """

    def __init__(self, ledger: Ledger, store: FileStore, settings: Settings):
        self._ledger = ledger
        self._store = store
        self._settings = settings

    async def create(self, tenant: str, *, nbytes: int, filename: str, purpose: str, mime: str, ttl_s: int) -> Upload:
        """Announce a file of so many bytes.

        Raises:
            FileTooLarge: more than a file may have.
            FilesQuotaExceeded
        """
        settings, now = self._settings, int(time.time())
        if nbytes > settings.files_max_bytes:
            raise FileTooLarge(f"A file may have {settings.files_max_bytes:,} bytes at the most.", param="bytes")
        lasts_s = settings.files_upload_ttl_s
        upload = Upload(new_id("upload_"), nbytes, filename, purpose, mime, now, now + lasts_s, ttl_s)
        # Room for a part that comes twice, since the answer to the first was lost.
        room = nbytes + min(nbytes, MOST_PART_BYTES)
        await self._ledger.reserve(tenant, upload.id, room, lease_s=lasts_s, record=upload.encode())
        return upload

    @asynccontextmanager
    async def receiving(self, tenant: str, upload_id: str, expected_bytes: int | None) -> AsyncIterator[PartReceipt]:
        """A part that is being received; without ``PartReceipt.finish`` nothing is left of it.

        Raises:
            UploadMissing, UploadNotPending
            FileTooLarge: the parts would be larger than what was announced.
            UploadIncomplete: too many parts.
        """
        upload, _ = await self.find(tenant, upload_id)
        most = min(MOST_PART_BYTES, upload.nbytes)
        reserved = most if expected_bytes is None else min(most, at_least(expected_bytes))
        part_id = new_id("part_")
        # They are needed until the upload's time is over at the longest.
        place = place_of(part_id, self._settings.files_upload_ttl_s)
        receipt: PartReceipt | None = None
        await self._note(tenant, upload_id, part_id, reserved, 0, place)
        try:
            async with incoming(self._store, place, most, _covered, reserved=most) as written:
                receipt = PartReceipt(self, tenant, upload_id, part_id, place, written)
                yield receipt
        finally:
            if receipt is None or not receipt.complete:
                metrics.broken_off.inc()
                with suppress(QueueUnavailable, UploadMissing, UploadNotPending):
                    await self._note(tenant, upload_id, part_id, -1, 0, place)

    async def keep(self, tenant: str, upload_id: str, part_id: str, place: str, nbytes: int) -> Part:
        """A part is complete, and is one of the upload's from now on. Raises as ``receiving`` does."""
        try:
            await self._note(tenant, upload_id, part_id, nbytes, 1, place)
        except (UploadMissing, UploadNotPending, FileTooLarge):
            await self._store.delete(place)
            raise
        return Part(part_id, upload_id, int(time.time()))

    async def complete(self, tenant: str, upload_id: str, part_ids: Sequence[str], md5: str) -> Upload:
        """Make a file of parts, in this order. Of an upload that is completed already it is the same file once more.

        Args:
            md5: of the file, in hexadecimal; empty: it is not checked.

        Raises:
            UploadMissing, UploadNotPending
            UploadIncomplete: a part is not there, or all together are not what was announced.
            FilesUnavailable
        """
        upload, parts = await self.find(tenant, upload_id)
        if upload.status == "completed":
            return upload
        places = _in_order(part_ids, parts, upload.nbytes)
        file_id = new_id("file-")
        place = place_of(file_id, self._settings.files_ttl_s)
        claim = (upload_id, file_id, upload.nbytes, place, int(CLAIM_S * 1000))
        _check(await self._ledger.call("claim", tenant, *claim), upload.nbytes)
        try:
            file = await self._join(upload, file_id, place, places, md5)
            await self._ledger.commit(tenant, file, upload=upload_id)
        except BaseException:
            with suppress(QueueUnavailable):
                await asyncio.shield(self._ledger.call("unclaim", tenant, upload_id, file_id))
            raise
        return replace(upload, status="completed", file=file)

    async def cancel(self, tenant: str, upload_id: str) -> Upload:
        """Give an upload up. Raises ``UploadMissing`` or ``UploadNotPending``."""
        upload, _ = await self.find(tenant, upload_id)
        _check(await self._ledger.call("cancel", tenant, upload_id), upload.nbytes)
        return replace(upload, status="cancelled")

    async def find(self, tenant: str, upload_id: str) -> tuple[Upload, dict[str, tuple[int, bool, str]]]:
        """An upload, and by their ids its parts: their bytes, whether they are complete, and their places.

        Raises:
            UploadMissing: there is none of that id, or it is another tenant's.
        """
        fields, parts = await self._ledger.upload(tenant, upload_id) if is_id("upload_", upload_id) else ({}, {})
        try:
            upload = Upload.decode(fields[b"record"], fields[b"status"].decode(), fields.get(b"file"))
            known = {part.decode(): _part(raw) for part, raw in parts.items()}
        except (KeyError, TypeError, ValueError):
            raise _missing() from None
        if time.time() >= upload.expires_s:
            raise _missing()
        return upload, known

    async def _note(self, tenant: str, upload_id: str, part_id: str, nbytes: int, complete: int, place: str) -> None:
        arguments = (upload_id, part_id, nbytes, complete, place, MOST_PARTS)
        _check(await self._ledger.call("part", tenant, *arguments), nbytes)

    async def _join(self, upload: Upload, file_id: str, place: str, places: list[tuple[str, int]], md5: str) -> File:
        make = incoming(self._store, place, upload.nbytes, _covered, reserved=upload.nbytes, with_md5=bool(md5))
        async with make as whole:
            for part, nbytes in places:
                async with aclosing(self._store.read(part, 0, nbytes)) as pieces:
                    async for piece in pieces:
                        await whole.write(piece)
            await whole.flush()
            if md5 and whole.md5 != md5.lower():
                raise UploadIncomplete("The parts together have another MD5 than `md5`.", param="md5")
            await whole.finish()
        return whole.describe(file_id, place, upload.filename, upload.purpose, upload.ttl_s)


@dataclass
class PartReceipt:
    """A part that is being received.

    Attributes:
        content: takes its bytes.
    """

    uploads: Uploads
    tenant: str
    upload_id: str
    part_id: str
    place: str
    content: Incoming
    complete: bool = False

    async def finish(self) -> Part:
        """All of it has come. Raises as ``Uploads.receiving`` does."""
        await self.content.finish()
        part = await self.uploads.keep(self.tenant, self.upload_id, self.part_id, self.place, self.content.nbytes)
        self.complete = True
        return part


def _in_order(part_ids: Sequence[str], parts: dict[str, tuple[int, bool, str]], nbytes: int) -> list[tuple[str, int]]:
    """Places and bytes of the parts that a file is made of."""
    for at, part_id in enumerate(part_ids):
        if part_id not in parts or not parts[part_id][1]:
            raise UploadIncomplete("The upload has no part of this id.", param=f"part_ids[{at}]")
    if len(set(part_ids)) < len(part_ids):
        raise UploadIncomplete("A part stands twice in `part_ids`.", param="part_ids")
    found = [(parts[part_id][2], parts[part_id][0]) for part_id in part_ids]
    total = sum(size for _, size in found)
    if total != nbytes:
        raise UploadIncomplete(
            f"The parts have {total:,} bytes together, and {nbytes:,} were announced as `bytes`.", param="part_ids"
        )
    return found


def _part(raw: bytes) -> tuple[int, bool, str]:
    nbytes, complete, place = raw.decode().split(" ", 2)
    return int(nbytes), complete == "1", place


def _check(answer: int, nbytes: int) -> None:
    """Raise what a script has against it."""
    if answer == _GONE:
        raise _missing()
    if answer == _NOT_PENDING:
        raise UploadNotPending("The upload is completed, cancelled, or being completed.", param="upload_id")
    if answer == _NO_ROOM:
        raise FileTooLarge(f"With {nbytes:,} bytes more the parts are larger than the upload's `bytes`.", param="data")
    if answer == _TOO_MANY:
        raise UploadIncomplete(f"An upload may have {MOST_PARTS:,} parts: send larger ones.", param="data")


def _missing() -> UploadMissing:
    return UploadMissing("There is no upload of this id, or no longer.", param="upload_id")


async def _covered(nbytes: int) -> int:
    """Room for it is reserved already."""
    return nbytes
