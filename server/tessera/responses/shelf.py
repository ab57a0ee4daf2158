"""Where responses are kept: in Redis, each tenant's in one slot of a cluster, with limits of their own.

What the keys of a tenant hold, and what each verb does, is in ``lua/``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import redis.asyncio as aioredis
import structlog

from tessera.queue import Script, reach
from tessera.responses.lua import source
from tessera.responses.record import StoredResponse
from tessera.settings import Settings
from tessera.telemetry import responses as metrics

log = structlog.get_logger()

_VERBS = ("put", "chain", "remove")
_FIELDS = ("meta", "shape", "input", "previous", "final")
_TOO_LARGE, _GONE = -1, -2
# Looked at in one round trip.
_AT_ONCE = 64


class Shelf:
    """The responses of all tenants. Methods raise ``QueueUnavailable`` where Redis cannot be reached in time."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        self._scripts = {verb: Script(redis, source(verb)) for verb in _VERBS}
        self._keep_ms = settings.responses_ttl_s * 1000
        self._open = f"{settings.redis_prefix}:{{responses}}:open"

    async def add(self, tenant: str, response: StoredResponse, *, look_at_ms: int) -> bool:
        """Keep a response that has just begun.

        Args:
            look_at_ms: when somebody is to look what became of it, in Unix time (see ``due``).

        Returns:
            False where it alone is larger than all of a tenant's may be.
        """
        async with reach(self._settings):
            await self._redis.zadd(self._open, {_member(tenant, response.id): look_at_ms})
            await self._redis.pexpire(self._open, self._keep_ms)
        return await self._put(tenant, response.id, response.fields(), new=True) != _TOO_LARGE

    async def end(self, tenant: str, response: StoredResponse) -> None:
        """Keep its end, unless it was removed meanwhile."""
        assert response.final is not None, "it has ended"
        fields = {"final": response.final}
        if await self._put(tenant, response.id, fields, new=False) == _TOO_LARGE:
            await self.remove(tenant, response.id)
            log.warning("response_not_kept", response=response.id, reason="it is larger than all may be together")
        await self.settled(tenant, response.id)

    async def find(self, tenant: str, response_id: str) -> StoredResponse | None:
        """A tenant's response."""
        async with reach(self._settings):
            values = cast("list[bytes | None]", await self._redis.hmget(self._key(tenant, response_id), _FIELDS))
        return _restored(response_id, values)

    async def chain(self, tenant: str, response_id: str, *, most: int) -> tuple[list[StoredResponse], str]:
        """A response and those that went before it, the oldest first.

        Returns:
            Them, and the id of one that is missing, or that is one too many; empty: there is none.
        """
        rows = await self._call("chain", tenant, response_id, most)
        found = [(row[0].decode(), _restored(row[0].decode(), row[1:])) for row in rows]
        whole = [response for _, response in found if response is not None]
        missing = next((name for name, response in found if response is None), "")
        return whole[::-1], missing or (found[most][0] if len(found) > most else "")

    async def remove(self, tenant: str, response_id: str) -> bool:
        """Forget a response. Returns whether it was there."""
        removed = bool(await self._call("remove", tenant, response_id))
        await self.settled(tenant, response_id)
        return removed

    async def settled(self, tenant: str, response_id: str) -> None:
        """Nobody has to look what becomes of it any more."""
        async with reach(self._settings):
            await self._redis.zrem(self._open, _member(tenant, response_id))

    async def due(self, now_ms: int) -> list[tuple[str, str]]:
        """Tenants and ids of responses of which somebody is to look what became of them; of many, some."""
        async with reach(self._settings):
            members = await self._redis.zrangebyscore(self._open, "-inf", now_ms, 0, _AT_ONCE)
        return [_parted(member) for member in cast("list[bytes]", members)]

    async def put_off(self, responses: Iterable[tuple[str, str]], until_ms: int) -> None:
        """Somebody has looked, and they have not ended."""
        members = {_member(tenant, response_id): until_ms for tenant, response_id in responses}
        if members:
            async with reach(self._settings):
                await self._redis.zadd(self._open, members, xx=True)
                await self._redis.pexpire(self._open, self._keep_ms)

    async def _put(self, tenant: str, response_id: str, fields: dict[str, bytes], *, new: bool) -> int:
        settings = self._settings
        limits = (settings.responses_max_per_tenant, settings.responses_max_bytes_per_tenant)
        flat = [part for field in fields.items() for part in field]
        outcome = int(await self._call("put", tenant, response_id, int(new), *limits, *flat))
        if outcome > 0:
            metrics.DROPPED.inc(outcome)
        return outcome

    async def _call(self, verb: str, tenant: str, *arguments: Any) -> Any:
        prefix = self._prefix(tenant)
        async with reach(self._settings):
            return await self._scripts[verb](keys=[f"{prefix}bytes"], args=[prefix, self._keep_ms, *arguments])

    def _prefix(self, tenant: str) -> str:
        return f"{self._settings.redis_prefix}:{{responses:{tenant}}}:"

    def _key(self, tenant: str, response_id: str) -> str:
        return f"{self._prefix(tenant)}item:{response_id}"


def _member(tenant: str, response_id: str) -> str:
    # Ids have no spaces.
    return f"{response_id} {tenant}"


def _parted(member: bytes) -> tuple[str, str]:
    response_id, _, tenant = member.decode().partition(" ")
    return tenant, response_id


def _restored(response_id: str, values: list[bytes | None]) -> StoredResponse | None:
    if values[0] is None:
        return None
    try:
        return StoredResponse.restore(response_id, dict(zip(_FIELDS, values, strict=True)))
    except (KeyError, TypeError, ValueError):
        return None  # damaged: there is nothing to be done with it
