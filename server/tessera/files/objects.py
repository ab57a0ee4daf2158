"""Files in object storage that speaks S3; where it is and who may use it, the usual ``AWS_…`` variables say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog

from tessera.errors import FilesUnavailable
from tessera.files.store import READ_BYTES, unavailable
from tessera.storage import open_storage

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = structlog.get_logger()

# The least that S3 takes as a part of an object that comes in parts. One that is not larger comes whole.
PART_BYTES = 5 * 1024 * 1024
# For an upload to be given up after its parts are removed.
_DISCARD_S = 10.0
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SHOWN = 200


class ObjectsStore:
    """See ``FileStore``.

    Args:
        url: ``s3://bucket/prefix``.
        timeout_s: longest request.

    Raises:
        ValueError: nothing that can be opened.
    """

    # What is collected here, in the library, and on its way.
    room_bytes = 4 * PART_BYTES

    def __init__(self, url: str, *, timeout_s: float):
        self._store: ObjectStore = open_storage(url, timeout_s=timeout_s)

    @asynccontextmanager
    async def create(self, name: str) -> AsyncIterator[_Sink]:
        """See ``FileStore``. What a dying gateway leaves of an object in parts, the bucket's own rules remove."""
        sink = _Sink(self._store, name)
        try:
            yield sink
        finally:
            await sink.discard()

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """See ``FileStore``."""
        import obstore

        if start == end:
            return
        with _told():
            found = await obstore.get_async(self._store, name, options={"range": (start, end)})
            async for piece in found.stream(min_chunk_size=READ_BYTES):
                start += len(piece)
                yield bytes(piece)
        if start != end:
            log.error("file_cut_short", file=name, at=start)
            raise unavailable()

    async def delete(self, name: str) -> None:
        """See ``FileStore``."""
        import obstore

        with _told(), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, name)

    async def sweep(self, before: str) -> int:
        """See ``FileStore``."""
        import obstore

        removed = 0
        with _told():
            days = (await obstore.list_with_delimiter_async(self._store))["common_prefixes"]
            for day in days:
                if not _DAY.fullmatch(day) or day >= before:
                    continue
                async for some in obstore.list(self._store, f"{day}/", chunk_size=500):
                    await obstore.delete_async(self._store, [item["path"] for item in some])
                    removed += len(some)
        return removed


class _Sink:
    """Hands its pieces to the library, which asks for them."""

    def __init__(self, store: ObjectStore, name: str):
        self._store = store
        self._name = name
        self._held = bytearray()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._putting: asyncio.Future[Any] | None = None
        self._given_up = False

    async def write(self, block: bytes | bytearray) -> None:
        if self._putting is not None:
            await self._hand_over(bytes(block))
            return
        self._held += block
        if len(self._held) > PART_BYTES:
            import obstore

            put = obstore.put_async(self._store, self._name, self._take(), chunk_size=PART_BYTES, max_concurrency=1)
            self._putting = asyncio.ensure_future(put)
            held, self._held = bytes(self._held), bytearray()
            await self._hand_over(held)

    async def commit(self) -> None:
        import obstore

        with _told():
            if self._putting is None:
                await obstore.put_async(self._store, self._name, bytes(self._held), use_multipart=False)
                return
            await self._hand_over(None)
            # What is cancelled here would leave parts behind that nobody sees.
            await asyncio.shield(self._putting)

    async def discard(self) -> None:
        """Give up what is not complete: the library then removes the parts that are there."""
        if self._putting is None or self._putting.done():
            return
        self._given_up = True
        with suppress(asyncio.QueueFull):
            self._pieces.put_nowait(None)
        # Also where the task is being cancelled: nobody else does it.
        await asyncio.wait([self._putting], timeout=_DISCARD_S)
        if self._putting.done() and not self._putting.cancelled():
            self._putting.exception()

    async def _take(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None and not self._given_up:
            yield piece
        if self._given_up:
            raise ValueError("given up")

    async def _hand_over(self, piece: bytes | None) -> None:
        assert self._putting is not None, "it has begun"
        giving = asyncio.ensure_future(self._pieces.put(piece))
        try:
            await asyncio.wait([giving, self._putting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            giving.cancel()
        if self._putting.done():
            # It ends by itself only where it fails, as long as there are pieces.
            with _told():
                self._putting.result()
            if piece is not None:
                raise unavailable()


@contextmanager
def _told() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except FilesUnavailable:
        raise
    except (BaseError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:_SHOWN]}"
        log.error("files_store_failed", reason=reason)  # noqa: TRY400 - the library's own traceback tells nothing
        raise unavailable() from error
