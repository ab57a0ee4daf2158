"""The media store in Redis, which gateways and workers share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from tessera.errors import MediaStoreUnavailable, MediaTooLarge
from tessera.media.cabinet import Cabinet
from tessera.media.ledger import Ledger, Reserved
from tessera.media.receipt import PART_BYTES, WHOLE_BYTES, Receipt
from tessera.media.room import Room
from tessera.media.store_errors import store_errors
from tessera.redis_direct import Direct
from tessera.settings import Settings

log = structlog.get_logger()

# Payloads on their way at once: they share the line, and each has a time limit.
_MOST_TRANSFERS = 8
# What is no larger goes to Redis with the question whether there is room: it costs less than asking first.
_ALONG_BYTES = 256 * 1024
# Renewals of a hold within its lease: some may fail.
_RENEWALS = 4


class RedisMediaStore:
    """One string a payload, or the parts of a large one, and the books (see ``Ledger``), all in one slot of a cluster.

    Room is kept in the books before a payload is sent, so that one that has to wait is not sent in vain; but for small
    ones, which are stored with it in one step.

    Args:
        redis: a client of its own (payloads are large: it waits longer than others), with ``decode_responses=False``.
        settings: prefix, room and lifetimes.
    """

    def __init__(self, redis: Redis, settings: Settings):
        self._max_bytes = settings.media_store_max_bytes
        self._renew_every_s = settings.media_hold_lease_s / _RENEWALS
        # A connection each, so that a small payload does not follow a large one; the last one used is used again.
        self._idle: asyncio.LifoQueue[Direct] = asyncio.LifoQueue()
        for _ in range(_MOST_TRANSFERS):
            self._idle.put_nowait(Direct(redis))
        self._room = Room(settings.media_store_wait_s)
        self._ledger = Ledger(redis, settings, on_release=self._room.notice)
        self._cabinet = Cabinet(settings, self._ledger)

    async def run(self) -> None:
        """Renew what is held, until cancelled; a gateway that does not loses its holds after ``media_hold_lease_s``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            tasks.create_task(self._cabinet.tidy())

    async def _keep(self) -> None:
        reachable = True
        while True:
            await asyncio.sleep(self._renew_every_s)
            try:
                await self._ledger.renew()
            except MediaStoreUnavailable as error:
                if reachable:
                    log.warning("media_store_unreachable", reason=str(error.__cause__))
                reachable = False
            else:
                if not reachable:
                    log.info("media_store_reachable")
                reachable = True

    async def put(self, digest: str, payload: bytes | memoryview, holder: str) -> bool:
        """See ``MediaStore``."""
        sent = False

        async def attempt() -> bool:
            nonlocal sent
            self._check_size(digest, len(payload), holder)
            if len(payload) > _ALONG_BYTES or self._cabinet.takes(len(payload)):
                answer = await self._ledger.reserve(digest, holder, len(payload))
            else:
                answer = await self._ledger.store(digest, holder, payload)
            if answer is Reserved.MAY_BE_STORED:
                sent = await self._send(digest, payload)
                return sent
            sent = answer is Reserved.STORED
            return answer is not Reserved.NO_ROOM

        await self._room.enter(attempt)
        return sent

    async def get(self, digest: str) -> bytes | memoryview | None:
        """See ``MediaStore``."""
        value = cast("bytes | None", await self._transfer("GET", self._key(digest)))
        receipt = None if value is None else Receipt.decode(value)
        if receipt is None:
            return value
        if receipt.parts:
            return await self._get_parts(digest, receipt)
        return await self._cabinet.get(digest, receipt)

    async def touch(self, digest: str, holder: str) -> bool:
        """See ``MediaStore``."""
        return await self._ledger.touch(digest, holder)

    def release(self, holder: str) -> None:
        """See ``MediaStore``."""
        self._ledger.release(holder)

    async def lapsing(self) -> dict[str, list[str]]:
        """The digests that others hold and have not renewed for half a lease, by holder."""
        return await self._ledger.lapsing()

    async def renew(self, holder: str, digests: Iterable[str]) -> None:
        """Keep what another process holds for another lease."""
        await self._ledger.renew_for(holder, digests)

    async def settle(self) -> None:
        """See ``MediaStore``."""
        await self._ledger.settle()

    async def _send(self, digest: str, payload: bytes | memoryview) -> bool:
        """Store a payload that has its room in the books. Returns whether Redis had memory for it."""
        if self._cabinet.takes(len(payload)):
            return await self._cabinet.put(digest, payload)
        try:
            if len(payload) > WHOLE_BYTES:
                return await self._send_parts(digest, memoryview(payload))
            await self._transfer("SET", self._key(digest), payload, "PX", self._ledger.lifetime_ms)
        except OutOfMemoryError:
            # Redis has less memory than the store has room.
            await self._ledger.evict(len(payload))
            return False
        return True

    async def _send_parts(self, digest: str, payload: memoryview) -> bool:
        """Whether all parts are there. Others may send the same ones: what they write is the same."""
        receipt = Receipt.of(payload)
        for number in range(receipt.parts):
            part = payload[number * PART_BYTES : (number + 1) * PART_BYTES]
            await self._transfer("SET", self._part_key(digest, number), part, "PX", self._ledger.lifetime_ms)
        return await self._ledger.complete(digest, receipt)

    async def _get_parts(self, digest: str, receipt: Receipt) -> memoryview | None:
        payload, place = bytearray(receipt.nbytes), 0
        for number in range(receipt.parts):
            part = cast("bytes | None", await self._transfer("GET", self._part_key(digest, number)))
            if part is None or place + len(part) > receipt.nbytes:
                return None
            payload[place : place + len(part)] = part
            place += len(part)
        return memoryview(payload).toreadonly() if place == receipt.nbytes else None

    async def _transfer(self, *command: Any) -> Any:
        """Send or fetch what is large; few at once."""
        direct = await self._idle.get()
        try:
            with store_errors():
                return await direct.command(*command)
        finally:
            self._idle.put_nowait(direct)

    def _check_size(self, digest: str, nbytes: int, holder: str) -> None:
        """Refuse at once what no waiting makes room for."""
        room = self._max_bytes
        if nbytes > room:
            raise MediaTooLarge(f"The decoded media has {nbytes} bytes; the media store has room for {room}.")
        together = nbytes + self._ledger.held_bytes(holder, besides=digest)
        if together > room:
            raise MediaTooLarge(
                f"The request's media has {together} bytes or more; the media store has room for {room}."
            )

    def _key(self, digest: str) -> str:
        return f"{self._ledger.prefix}data:{digest}"

    def _part_key(self, digest: str, number: int) -> str:
        return f"{self._ledger.prefix}part:{digest}:{number}"
