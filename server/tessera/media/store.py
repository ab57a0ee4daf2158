"""Where decoded media waits for a worker: Redis, shared by gateways and workers, or memory for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from math import ceil
from typing import Any, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from tessera.errors import MediaStoreFull, MediaTooLarge, QueueUnavailable, TesseraError
from tessera.settings import Settings

_RETRY_S = 5


class MediaStore(Protocol):
    """Payloads by digest. An entry lives for ``media_store_ttl_s`` after its last ``put`` or ``touch``."""

    async def put(self, digest: str, payload: bytes) -> None:
        """Store a payload, or refresh its last use if it is there already.

        Raises:
            MediaStoreFull: no room, with the seconds until there may be.
            MediaTooLarge: larger than the whole store.
            QueueUnavailable: the store cannot be reached.
        """
        ...

    async def get(self, digest: str) -> bytes | None:
        """The payload, or None if it is not there (any more). Raises ``QueueUnavailable``."""
        ...

    async def touch(self, digest: str) -> bool:
        """Refresh the last use; False if the payload is not there. Raises ``QueueUnavailable``."""
        ...


class MemoryMediaStore:
    """The in-process fake: a dictionary that is full at ``max_bytes`` and forgets nothing by itself.

    Args:
        max_bytes: room, or None for no limit.
    """

    def __init__(self, max_bytes: int | None = None):
        self.payloads: dict[str, bytes] = {}
        self._max_bytes = max_bytes

    async def put(self, digest: str, payload: bytes) -> None:
        """See ``MediaStore``."""
        if digest in self.payloads:
            return
        held = sum(map(len, self.payloads.values()))
        if self._max_bytes is not None and held + len(payload) > self._max_bytes:
            raise MediaStoreFull("The media store is full; try again later.", retry_after_s=1)
        self.payloads[digest] = payload

    async def get(self, digest: str) -> bytes | None:
        """See ``MediaStore``."""
        return self.payloads.get(digest)

    async def touch(self, digest: str) -> bool:
        """See ``MediaStore``."""
        return digest in self.payloads


class RedisMediaStore:
    """One string a payload, and beside them what keeps the total within ``media_store_max_bytes``.

    Keys: ``{prefix}:{media}:data:<digest>`` (string, expires), ``…:used`` (sorted set: digest by last use in ms of
    Redis' clock), ``…:sizes`` (hash: digest to bytes) and ``…:total`` (bytes). The hash tag keeps them on one node
    of a cluster, so that each verb is one script.

    Args:
        redis: a client of its own (large payloads must not hold up others), with ``decode_responses=False``.
        settings: prefix, room and lifetimes.
    """

    def __init__(self, redis: Redis, settings: Settings):
        self._redis = redis
        self._settings = settings
        base = f"{settings.redis_prefix}:{{media}}:"
        self._data = base + "data:"
        self._books = [base + "used", base + "sizes", base + "total"]
        self._put = redis.register_script(_lua("put"))
        self._touch = redis.register_script(_lua("touch"))
        self._touching: dict[str, asyncio.Future[bool]] = {}
        self._flusher: asyncio.Task[None] | None = None

    async def put(self, digest: str, payload: bytes) -> None:
        """See ``MediaStore``."""
        room = self._settings.media_store_max_bytes
        if len(payload) > room:
            raise MediaTooLarge(f"The decoded media has {len(payload)} bytes; the media store has room for {room}.")
        # A job may wait this long for a worker: what was used since may still be needed.
        idle_ms = int(self._settings.queue_timeout_s * 1000)
        arguments: list[str | bytes | int] = [digest, payload, self._ttl_ms, idle_ms, room]
        with _redis_errors():
            reply = self._put(keys=[*self._books, self._data + digest], args=arguments)
            retry_ms = int(await cast("Any", reply))
        if retry_ms:
            raise _full(ceil(retry_ms / 1000))

    async def get(self, digest: str) -> bytes | None:
        """See ``MediaStore``."""
        with _redis_errors():
            return cast("bytes | None", await self._redis.get(self._data + digest))

    async def touch(self, digest: str) -> bool:
        """See ``MediaStore``.

        Every request with a known image comes through here: digests that come while a call is on its way go
        together in the next one, so that Redis and the loop see one call instead of many.
        """
        answer = self._touching.get(digest)
        if answer is None:
            answer = self._touching[digest] = asyncio.get_running_loop().create_future()
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        # Shielded: several requests may wait for the same answer, and one of them may be cancelled.
        try:
            return await asyncio.shield(answer)
        except TesseraError as error:
            # An error of one's own: each caller writes its own ``param`` into it.
            raise type(error)(error.message, retry_after_s=error.retry_after_s) from error

    @property
    def _ttl_ms(self) -> int:
        return self._settings.media_store_ttl_s * 1000

    async def _flush(self) -> None:
        while self._touching:
            batch, self._touching = self._touching, {}
            keys = [*self._books, *(self._data + digest for digest in batch)]
            try:
                with _redis_errors():
                    reply = self._touch(keys=keys, args=[self._ttl_ms, *batch])
                    present = await cast("Any", reply)
            except BaseException as error:
                self._fail(batch, error)
                if not isinstance(error, Exception):
                    raise
            else:
                for answer, there in zip(batch.values(), present, strict=True):
                    answer.set_result(bool(there))

    def _fail(self, batch: dict[str, asyncio.Future[bool]], error: BaseException) -> None:
        failure = error if isinstance(error, Exception) else QueueUnavailable("The media store was closed.")
        for answer in batch.values():
            answer.set_exception(failure)
            # Whoever waited may be gone; asyncio would log an exception that nobody retrieved.
            answer.exception()


def _lua(name: str) -> str:
    return files("tessera.media").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _full(retry_after_s: int) -> MediaStoreFull:
    return MediaStoreFull("The media store is full; try again later.", retry_after_s=max(1, retry_after_s))


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OSError) as error:
        raise QueueUnavailable("The media store cannot be reached.", retry_after_s=_RETRY_S) from error
    except ResponseError as error:
        # Redis 6.2 wraps the refusal of a command in a script into an error of the script.
        if "OOM" in str(error):
            raise _full(_RETRY_S) from error
        raise
