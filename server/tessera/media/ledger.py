"""The media store's books in Redis: which request holds what, and how much room is taken.

What stands in them, and what each verb does to them, is in ``lua/``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import partial
from importlib.resources import files
from itertools import chain, islice
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from tessera.errors import MediaStoreUnavailable, TesseraError
from tessera.media.receipt import Receipt
from tessera.media.store_errors import store_errors
from tessera.redis_direct import Direct
from tessera.settings import Settings

# In this order, so that of what comes together, the end of a hold is the last that happens to it.
_VERBS = ("touch", "reserve", "release")
_CALLS = ("complete", "evict", "lapsing", "sweep", "begin", "attach", "doomed", "deleted", "lost", "strays")
# What a script is made of besides its own file and `common.lua`.
_PARTS = {"reserve": ("room",)}
# Most holds, and bytes of payloads, in one call, which holds up everybody else's.
_BATCH = 500
_BATCH_BYTES = 1 << 20
# A payload that is sent along and that nobody takes, because its gateway died in between, goes by itself.
_SENT_MS = 10_000


class _Hold(NamedTuple):
    """What a verb is asked about.

    Attributes:
        size: of the payload, bytes, where its room is asked for.
        payload: is sent along.
    """

    digest: str
    holder: str
    size: int | None = None
    payload: bytes | memoryview | None = None

    @property
    def arguments(self) -> tuple[str | int, ...]:
        hold = f"{self.digest} {self.holder}"
        return (hold,) if self.size is None else (hold, self.size)


_Answer = asyncio.Future[list[int]]


class Reserved(IntEnum):
    """What came of keeping room for a payload."""

    NO_ROOM = -1
    MAY_BE_STORED = 0
    THERE = 1
    STORED = 2


class Ledger:
    """The holds of this process's requests.

    One task makes the calls, one after the other. What comes while one is on its way goes together in the next, so that
    Redis and the loop see one call instead of many; and the beginning of a hold cannot overtake its end.

    Args:
        redis: the store's client.
        settings: prefix, room, lifetimes.
        on_release: called when there may be room, because holds have ended.
    """

    def __init__(self, redis: Redis, settings: Settings, on_release: Callable[[], None]):
        self.prefix = f"{settings.redis_prefix}:{{media}}:"
        lease_ms = int(settings.media_hold_lease_s * 1000)
        # What is held lives for a lease at least, within which it is touched again.
        self.lifetime_ms = max(settings.media_store_ttl_s * 1000, lease_ms)
        self._arguments = (self.prefix, lease_ms, self.lifetime_ms)
        self._room = settings.media_store_max_bytes
        self._on_release = on_release
        self._direct = Direct(redis, settings.redis_timeout_s)
        self._scripts = {name: redis.register_script(_lua(name)) for name in (*_VERBS, *_CALLS)}
        # By holder: every digest that it may hold, with its bytes where it does.
        self._held: dict[str, dict[str, int]] = {}
        self._unreleased: list[_Hold] = []
        self._asked: dict[str, list[tuple[list[_Hold], _Answer]]] = {verb: [] for verb in _VERBS}
        self._caller: asyncio.Task[None] | None = None

    def held_bytes(self, holder: str, *, besides: str) -> int:
        """Bytes of what a holder holds besides one digest."""
        return sum(size for digest, size in self._held.get(holder, {}).items() if digest != besides)

    async def touch(self, digest: str, holder: str) -> bool:
        """Hold a payload that is there; False if it is not."""
        held = self._expect(digest, holder)
        [size] = await self._ask("touch", [_Hold(digest, holder)])
        if size:
            held[digest] = size
        return size > 0

    async def reserve(self, digest: str, holder: str, size: int) -> Reserved:
        """Hold a payload, if there is room for it."""
        return await self._reserve(_Hold(digest, holder, size))

    async def store(self, digest: str, holder: str, payload: bytes | memoryview) -> Reserved:
        """The same of a small payload, which goes along, and is stored where that needs no room of others."""
        return await self._reserve(_Hold(digest, holder, len(payload), payload))

    def release(self, holder: str) -> None:
        """End all holds of a holder, soon."""
        if digests := self._held.pop(holder, None):
            self._end([_Hold(digest, holder) for digest in digests])

    async def renew(self) -> None:
        """Keep all holds for another lease, and clear up after gateways that died."""
        unreleased, self._unreleased = self._unreleased, []
        self._end(unreleased)
        await self._ask("touch", [_Hold(d, holder) for holder, digests in self._held.items() for d in digests])
        await self._call("sweep")

    async def lapsing(self) -> dict[str, list[str]]:
        """The digests that others hold and have not renewed for half a lease, by holder; of many, some."""
        found: dict[str, list[str]] = {}
        for hold in await self._call("lapsing", _BATCH):
            digest, holder = hold.decode().split(" ", 1)
            if holder not in self._held:
                found.setdefault(holder, []).append(digest)
        return found

    async def renew_for(self, holder: str, digests: Iterable[str]) -> None:
        """Keep another process' holds for another lease."""
        await self._ask("touch", [_Hold(digest, holder) for digest in digests])

    async def complete(self, digest: str, receipt: Receipt) -> bool:
        """Have a payload be there whose parts are all sent; False where some have gone again."""
        return bool(await self._call("complete", digest, receipt.encode(), receipt.nbytes))

    async def begin(self, name: str, *, within_s: float) -> None:
        """An object is about to be written outside of Redis; what is not attached in time is to be deleted."""
        await self._call("begin", name, int(within_s * 1000))

    async def attach(self, digest: str, receipt: Receipt) -> bool:
        """Have a payload be there whose object is written; False where that took too long."""
        return bool(await self._call("attach", digest, receipt.encode(), receipt.name))

    async def doomed(self) -> list[str]:
        """Names of objects that are to be deleted now; of many, some."""
        return [name.decode() for name in await self._call("doomed", _BATCH)]

    async def deleted(self, names: list[str]) -> None:
        """These objects are."""
        await self._call("deleted", *names)

    async def lost(self, digest: str, name: str) -> None:
        """The object of a payload is gone, so that the payload has to be stored again."""
        await self._call("lost", digest, name)

    async def strays(self, objects: list[tuple[str, str]]) -> list[str]:
        """Of objects, by digest and name, the names of those that stand in no book."""
        found: list[str] = []
        for start in range(0, len(objects), _BATCH):
            pairs = chain.from_iterable(objects[start : start + _BATCH])
            found += [name.decode() for name in await self._call("strays", *pairs)]
        return found

    async def evict(self, nbytes: int) -> int:
        """Forget what nobody holds until that much is free. Returns the bytes that this freed."""
        return int(await self._call("evict", nbytes))

    async def settle(self) -> None:
        """Wait until all calls have ended."""
        if self._caller is not None:
            await asyncio.wait([self._caller])

    async def _reserve(self, hold: _Hold) -> Reserved:
        assert hold.size is not None, "there is something to keep room for"
        held = self._expect(hold.digest, hold.holder)
        [answer] = await self._ask("reserve", [hold])
        if answer >= 0:
            held[hold.digest] = hold.size
        return Reserved(answer)

    def _expect(self, digest: str, holder: str) -> dict[str, int]:
        # Before it is asked for: a request may end, and let go, before it hears that it holds something.
        held = self._held.setdefault(holder, {})
        held.setdefault(digest, 0)
        return held

    def _end(self, holds: list[_Hold]) -> None:
        self._ask("release", holds).add_done_callback(partial(self._ended, holds))

    def _ended(self, holds: list[_Hold], answer: _Answer) -> None:
        if answer.exception() is None:
            self._on_release()
        else:
            # Tried again with the next renewal; or their lease is over by then.
            self._unreleased += holds

    def _ask(self, verb: str, items: list[_Hold]) -> _Answer:
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._asked[verb].append((items, answer))
        if self._caller is None or self._caller.done():
            self._caller = asyncio.create_task(self._make_calls())
        return answer

    async def _make_calls(self) -> None:
        while any(self._asked.values()):
            asked, self._asked = self._asked, {verb: [] for verb in _VERBS}
            try:
                for verb in _VERBS:
                    if waiting := [(items, answer) for items, answer in asked[verb] if not answer.done()]:
                        await self._make(verb, waiting)
            finally:
                for _, answer in chain.from_iterable(asked.values()):
                    if not answer.done():
                        answer.set_exception(MediaStoreUnavailable("The media store was closed."))

    async def _make(self, verb: str, waiting: list[tuple[list[_Hold], _Answer]]) -> None:
        holds = [hold for asked, _ in waiting for hold in asked]
        results: list[int] = []
        try:
            first = (self._room,) if verb in _PARTS else ()
            for batch in _batches(holds):
                arguments = chain.from_iterable(hold.arguments for hold in batch)
                results += await self._call(verb, *first, *arguments, along=batch)
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(_own(error))
        else:
            found = iter(results)
            for asked, answer in waiting:
                result = list(islice(found, len(asked)))
                if not answer.done():
                    answer.set_result(result)

    async def _call(self, name: str, *arguments: str | int | bytes, along: Iterable[_Hold] = ()) -> Any:
        """Run a script, behind the payloads that go along: an argument of that size would cost Redis more than all."""
        script, given = self._scripts[name], (1, self.prefix, *self._arguments, *arguments)
        sent = [
            ("SET", f"{self.prefix}sent:{hold.digest}", hold.payload, "PX", _SENT_MS)
            for hold in along
            if hold.payload is not None
        ]
        with store_errors():
            try:
                return await self._direct.command("EVALSHA", script.sha, *given, behind=sent)
            except NoScriptError:
                # As a whole, to whoever has the store's keys: of a Cluster's nodes that is one.
                return await self._direct.command("EVAL", script.script, *given)


def _lua(name: str) -> str:
    folder = files("tessera.media") / "lua"
    parts = ("common", *_PARTS.get(name, ()), name)
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


def _batches(holds: list[_Hold]) -> Iterator[list[_Hold]]:
    batch: list[_Hold] = []
    size = 0
    for hold in holds:
        more = 0 if hold.payload is None else len(hold.payload)
        if batch and (len(batch) == _BATCH or size + more > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(hold)
        size += more
    if batch:
        yield batch


def _own(error: Exception) -> Exception:
    """An error for each who waits: they write their own ``param`` into it."""
    return type(error)(error.message, retry_after_s=error.retry_after_s) if isinstance(error, TesseraError) else error
