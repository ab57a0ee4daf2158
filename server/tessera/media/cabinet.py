"""Large payloads outside of Redis, and the deletion of those that nobody needs, whoever wrote them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from tessera.errors import MediaStoreUnavailable
from tessera.media.ledger import Ledger
from tessera.media.objects import MediaObjects
from tessera.media.receipt import Receipt
from tessera.settings import Settings

log = structlog.get_logger()

_TIDY_EVERY_S = 5.0
_LOOK_EVERY_S = 3600.0
# Older than any lifetime of a payload, and than clocks differ.
_STRAY_AGE_S = 3600.0


class Cabinet:
    """What the store keeps in ``media_store_url``, where that is set; the books stay in Redis.

    An object is in the books before it is written, with a time by which it has to be attached to its payload; and its
    payload's end in the books is written down as its own. So all that is left over is deleted, by any gateway. Should
    the books be lost, what stands in none of them is found by its age.

    Args:
        settings: where, and for which sizes.
        ledger: the books.
    """

    def __init__(self, settings: Settings, ledger: Ledger):
        self._ledger = ledger
        self._objects = MediaObjects(settings) if settings.media_store_url else None
        self._least_bytes = settings.media_redis_max_item_bytes
        # Twice the time that writing may take.
        self._write_within_s = 2 * (settings.redis_timeout_s + settings.media_transfer_timeout_s)
        self._stray_age = timedelta(seconds=_STRAY_AGE_S + ledger.lifetime_ms / 1000)

    def takes(self, nbytes: int) -> bool:
        """Whether payloads of that size go here."""
        return self._objects is not None and nbytes > self._least_bytes

    async def put(self, digest: str, payload: bytes | memoryview) -> bool:
        """Store a payload that has its room in the books. Returns whether it is there.

        Raises:
            MediaStoreUnavailable: it cannot be written, or Redis cannot be reached.
        """
        assert self._objects is not None
        name = self._objects.new_name(digest)
        await self._ledger.begin(name, within_s=self._write_within_s)
        await self._objects.write(name, payload)
        return await self._ledger.attach(digest, Receipt(len(payload), name=name))

    async def get(self, digest: str, receipt: Receipt) -> memoryview | None:
        """A payload; None where it is not there (any more).

        Raises:
            MediaStoreUnavailable: it cannot be read, or this process does not know where.
        """
        if self._objects is None:
            log.error("media_store_url_missing", object=receipt.name)
            raise MediaStoreUnavailable("The media store is not set up on this worker (TESSERA_MEDIA_STORE_URL).")
        payload = await self._objects.read(receipt.name)
        if payload is None or len(payload) != receipt.nbytes:
            await self._ledger.lost(digest, receipt.name)
            return None
        return payload

    async def tidy(self) -> None:
        """Delete what nobody needs, until cancelled."""
        clock = asyncio.get_running_loop().time
        look_at = clock()
        while self._objects is not None:
            with suppress(MediaStoreUnavailable):  # told by whoever needs it
                await self.delete_doomed()
                if clock() >= look_at:
                    look_at = clock() + _LOOK_EVERY_S
                    await self.delete_strays()
            await asyncio.sleep(_TIDY_EVERY_S)

    async def delete_doomed(self) -> None:
        """Delete what the books say is not needed."""
        assert self._objects is not None
        while doomed := await self._ledger.doomed():
            await self._objects.delete(doomed)
            await self._ledger.deleted(doomed)

    async def delete_strays(self) -> None:
        """Delete what is old and stands in no book."""
        assert self._objects is not None
        before = datetime.now(UTC) - self._stray_age
        await self._objects.delete_incomplete(before)
        if strays := await self._ledger.strays(await self._objects.older_than(before)):
            log.warning("media_strays_deleted", objects=len(strays))
            await self._objects.delete(strays)
