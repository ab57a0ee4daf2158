"""What is known of each tenant's files, in Redis: who has what, how much it takes, and what is to be removed.

All keys of a tenant are in one slot of a cluster; what they hold, and what each verb does, is in ``lua/``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

import redis.asyncio as aioredis

from tessera.errors import FilesQuotaExceeded
from tessera.files.record import File
from tessera.files.store import unavailable
from tessera.queue import Script, reach
from tessera.settings import Settings

_Raws = list[bytes | None]

_VERBS = ("reserve", "commit", "remove", "part", "claim", "unclaim", "cancel", "purge")
# All that is known of a tenant's files outlives the last of them by so much.
_LONGER_S = 2 * 86_400
# Of one page of a list at once.
_PAGE = 200
MOST_PARTS = 1000
_GONE, _TOO_MANY, _TOO_LARGE = 0, -1, -2


class Ledger:
    """The books of all tenants. Methods raise ``QueueUnavailable`` where Redis cannot be reached in time."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        self._scripts = {verb: Script(redis, _lua(verb)) for verb in _VERBS}
        self._keep_ms = (settings.files_ttl_s + settings.files_upload_ttl_s + _LONGER_S) * 1000
        self._tenants = f"{settings.redis_prefix}:{{files}}:tenants"

    async def reserve(
        self,
        tenant: str,
        name: str,
        nbytes: int,
        *,
        lease_s: float,
        place: str = "",
        new: bool = True,
        record: bytes = b"",
    ) -> bool:
        """Keep room for a file or an upload, or more of it, or for longer.

        Args:
            name: its id.
            record: of an upload.

        Returns:
            False where it is not ``new`` and what was reserved is not known any more.

        Raises:
            FilesQuotaExceeded: the tenant has too much already.
        """
        if new:
            async with reach(self._settings):
                await self._redis.sadd(self._tenants, tenant)
        settings = self._settings
        most = (settings.files_max_per_tenant, settings.files_max_bytes_per_tenant)
        lease_ms = int(lease_s * 1000)
        answer = await self.call(
            "reserve", tenant, name, nbytes, lease_ms, *most, place, int(new), *([record] if record else [])
        )
        if answer == _TOO_MANY:
            raise FilesQuotaExceeded(
                f"There are {most[0]:,} files and unfinished uploads already, as many as there may be. Delete some."
            )
        if answer == _TOO_LARGE:
            raise FilesQuotaExceeded(
                f"With this one, files and unfinished uploads would take more than the {most[1]:,} bytes that they "
                "may. Delete some."
            )
        return bool(answer != _GONE)

    async def commit(self, tenant: str, file: File, *, upload: str = "") -> None:
        """A file is complete.

        Raises:
            FilesUnavailable: what was reserved for it is not known any more.
        """
        arguments = (file.id, file.nbytes, file.encode(), file.expires_s * 1000, upload)
        if await self.call("commit", tenant, *arguments) != 1:
            raise unavailable()

    async def remove(self, tenant: str, file_id: str) -> str | None:
        """Forget a file. Returns its place in the store, where it is to be removed from (see ``buried``)."""
        place = await self.call("remove", tenant, file_id)
        return None if place is None else place.decode()

    async def find(self, tenant: str, file_ids: list[str]) -> dict[str, File]:
        """Those of some files that there are, and whose time is not over."""
        async with reach(self._settings):
            raws = cast("_Raws", await self._redis.hmget(self.key(tenant, "records"), file_ids))
        return {file.id: file for raw in raws if (file := _readable(raw)) is not None}

    async def page(self, tenant: str, *, after: str, newest_first: bool) -> tuple[list[File], str | None]:
        """Files in the order of their making, some of them.

        Args:
            after: id behind which they begin; it need not be there any more.

        Returns:
            Them, and where to go on; None: there are no more.
        """
        created = self.key(tenant, "created")
        async with reach(self._settings):
            if newest_first:
                found = await self._redis.zrevrangebylex(created, f"({after}" if after else "+", "-", 0, _PAGE)
            else:
                found = await self._redis.zrangebylex(created, f"({after}" if after else "-", "+", 0, _PAGE)
            ids = [raw.decode() for raw in cast("list[bytes]", found)]
            raws = cast("_Raws", await self._redis.hmget(self.key(tenant, "records"), ids)) if ids else []
        files = [file for raw in raws if (file := _readable(raw)) is not None]
        return files, ids[-1] if len(ids) == _PAGE else None

    async def tenants(self) -> list[str]:
        """All that ever had files."""
        async with reach(self._settings):
            return [name.decode() for name in cast("set[bytes]", await self._redis.smembers(self._tenants))]

    async def doomed(self, tenant: str) -> list[str]:
        """Places of what is to be removed from the store, of what is over since just now, too; of many, some."""
        return [place.decode() for place in await self.call("purge", tenant)]

    async def buried(self, tenant: str, places: Iterable[str]) -> None:
        """They were removed from the store."""
        if gone := list(places):
            async with reach(self._settings):
                await self._redis.zrem(self.key(tenant, "doomed"), *gone)

    async def upload(self, tenant: str, upload_id: str) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """The fields of an upload, and its parts."""
        async with reach(self._settings), self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(self.key(tenant, f"upload:{upload_id}"))
            pipe.hgetall(self.key(tenant, f"parts:{upload_id}"))
            fields, parts = await pipe.execute()
        return fields, parts

    async def call(self, verb: str, tenant: str, *arguments: Any) -> Any:
        """Run a script."""
        async with reach(self._settings):
            args = [self.key(tenant), self._keep_ms, *arguments]
            return await self._scripts[verb](keys=[self.key(tenant, "bytes")], args=args)

    def key(self, tenant: str, name: str = "") -> str:
        """A key of a tenant's."""
        return f"{self._settings.redis_prefix}:{{files:{tenant}}}:{name}"


def _readable(raw: bytes | None) -> File | None:
    if raw is None:
        return None
    try:
        file = File.decode(raw)
    except (TypeError, ValueError):
        return None  # damaged: there is nothing to be done with it
    return None if file.expired else file


@lru_cache
def _lua(verb: str) -> str:
    folder = files("tessera.files") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("common", verb))
