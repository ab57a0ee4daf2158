"""The batches of all tenants: each is with one runner at a time, and whoever had it before can write nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

import redis.asyncio as aioredis

from tessera.batches.record import ENDED, Batch, Problem, encode_problems
from tessera.queue import Script, reach
from tessera.settings import Settings

_VERBS = ("create", "claim", "hold", "advance", "stow", "enter", "cancel", "leave")
KINDS = ("output", "error")
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch in the hands of one runner, until another one claims it."""

    batch_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What was answered of a batch.

    Attributes:
        line: lines of the input that are done with, in all; and ``offset`` the bytes that they take.
        completed: more of them; as is ``failed``.
        output: lines for the output file, with their ends.
    """

    line: int
    offset: int
    completed: int
    failed: int
    output: bytes
    errors: bytes


class Lost(Exception):
    """Somebody else runs the batch."""


class Shelf:
    """Methods raise ``QueueUnavailable`` where Redis cannot be reached in time, and with a claim ``Lost``."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        self._prefix = f"{settings.redis_prefix}:{{batches}}:"
        self._scripts = {verb: Script(redis, _lua(verb)) for verb in _VERBS}
        self._keep_ms = settings.batch_ttl_s * 1000

    async def create(self, batch: Batch) -> bool:
        """Take a batch on. Returns False where its tenant has as many as it may."""
        keep_ms = self._keep_ms + 2 * self._settings.batch_window_s * 1000
        most = self._settings.max_batches_per_tenant
        return bool(await self._call("create", batch.id, batch.tenant, batch.encode(), most, keep_ms))

    async def find(self, tenant: str, batch_id: str) -> Batch | None:
        """A tenant's batch; None: there is none of that id, or it is another's."""
        batch = await self.read(batch_id)
        return batch if batch is not None and batch.tenant == tenant else None

    async def read(self, batch_id: str) -> Batch | None:
        """Any batch."""
        async with reach(self._settings):
            fields = await cast("Any", self._redis.hgetall(f"{self._prefix}batch:{batch_id}"))
        try:
            return Batch.decode(fields)
        except (KeyError, TypeError, ValueError):
            return None

    async def newest_first(self, tenant: str, after: str) -> AsyncGenerator[Batch, None]:
        """A tenant's batches, from behind one on."""
        at, key = 0, f"{self._prefix}of:{tenant}"
        if after:
            async with reach(self._settings):
                rank = cast("int | None", await self._redis.zrevrank(key, after))
            at = rank + 1 if rank is not None else 0
        while True:
            async with reach(self._settings):
                ids = cast("list[bytes]", await self._redis.zrevrange(key, at, at + _PAGE - 1))
            for batch_id in ids:
                if (batch := await self.find(tenant, batch_id.decode())) is not None:
                    yield batch
            if len(ids) < _PAGE:
                return
            at += _PAGE

    async def cancel(self, batch_id: str) -> str | None:
        """Have a batch end soon, if it has not come too far. Returns the status that it had."""
        status = await self._call("cancel", batch_id)
        return None if status is None else cast("bytes", status).decode()

    async def claim(self, lease_s: float) -> Claim | None:
        """Take up a batch that nobody runs."""
        found = await self._call("claim", int(lease_s * 1000))
        return Claim(found[0].decode(), found[1]) if found else None

    async def hold(self, claim: Claim, lease_s: float) -> str:
        """Keep a batch for so long, or leave it to others after that. Returns its status."""
        status: bytes = _held(await self._call("hold", *_of(claim), int(lease_s * 1000)))
        return status.decode()

    async def leave(self, claim: Claim, pause_s: float) -> None:
        """Others may take a batch up, after a while. One that has ended stays as it is."""
        _held(await self._call("leave", *_of(claim), int(pause_s * 1000)))

    async def outcome(self, batch_id: str) -> str:
        """What a batch that is being finished is to become; empty: completed."""
        async with reach(self._settings):
            found = await cast("Any", self._redis.hget(f"{self._prefix}batch:{batch_id}", "outcome"))
        return cast("bytes", found or b"").decode()

    async def advance(self, claim: Claim, progress: Progress) -> dict[str, int]:
        """Keep answers, all or none of them. Returns the bytes that are in no part of a file yet, by kind."""
        p = progress
        told = (p.line, p.offset, p.completed, p.failed, p.output, p.errors)
        return dict(zip(KINDS, _held(await self._call("advance", *_of(claim), *told)), strict=True))

    async def buffered(self, batch_id: str, kind: str) -> bytes:
        """Lines of a file that are in no part of it yet."""
        async with reach(self._settings):
            return cast("bytes | None", await self._redis.get(f"{self._prefix}buffer:{batch_id}:{kind}")) or b""

    async def stow(self, claim: Claim, kind: str, place: str, nbytes: int) -> None:
        """What is buffered is in a part of the file now."""
        _held(await self._call("stow", *_of(claim), kind, f"{nbytes} {place}"))

    async def parts(self, batch_id: str, kind: str) -> list[tuple[int, str]]:
        """Bytes and places of a file's parts."""
        async with reach(self._settings):
            raws: list[bytes] = await cast("Any", self._redis.lrange(f"{self._prefix}parts:{batch_id}:{kind}", 0, -1))
        pairs = (raw.decode().split(" ", 1) for raw in raws)
        return [(int(nbytes), place) for nbytes, place in pairs]

    async def enter(self, claim: Claim, status: str, *, before: str = "", **fields: str | int) -> str:
        """Give a batch another status, and note something of it.

        Args:
            status: empty: the one that it has.
            before: the one that it has to have for that.

        Returns:
            The one that it has then.
        """
        told = [part for field in fields.items() for part in field]
        last = int(status in ENDED)
        entered: bytes = _held(await self._call("enter", *_of(claim), status, before, last, self._keep_ms, *told))
        return entered.decode()

    async def fail(self, claim: Claim, problems: list[Problem]) -> None:
        """A batch ends before it has begun."""
        await self.enter(claim, "failed", problems=encode_problems(problems).decode())

    async def _call(self, verb: str, *arguments: Any) -> Any:
        async with reach(self._settings):
            return await self._scripts[verb](keys=[f"{self._prefix}open"], args=[self._prefix, *arguments])


def _of(claim: Claim) -> tuple[str, int]:
    return claim.batch_id, claim.epoch


def _held(answer: Any) -> Any:
    if answer is None:
        raise Lost
    return answer


@lru_cache
def _lua(verb: str) -> str:
    folder = files("tessera.batches") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("common", verb))
