"""Feeds vLLM from the media store: it asks for ``tessera-media:<digest>`` and gets pixels and samples, never files."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import numpy as np
import structlog

from tessera.errors import InvalidMedia, TesseraError, Unavailable, UnsupportedPart
from tessera.media import URL_SCHEME, Flights, MediaStore, Modality, digest_of, unpack
from tessera.telemetry import worker_media as metrics
from tessera.worker.bridge import vllm_name

log = structlog.get_logger()

NAME = "tessera"
# Of a thread for its media. The store gives up much sooner; what is left is a loop that ends, as the worker does.
_MOST_WAIT_S = 60


# By digest; None: it has left the store.
_Payload = bytes | memoryview
_AT_HAND: ContextVar[Mapping[str, _Payload | TesseraError | None]] = ContextVar("at_hand", default=MappingProxyType({}))


class MediaReader:
    """Decoded media by digest: an item that many requests ask for is read from the store once.

    The most recently used items are kept in memory, of those that take no more than a quarter of the room.

    Args:
        cache_bytes: room for items that later turns and requests will ask for again.
    """

    def __init__(self, store: MediaStore, *, cache_bytes: int = 256 << 20):
        self._store = store
        self._capacity = self._room = cache_bytes
        self._cache: OrderedDict[str, bytes | memoryview] = OrderedDict()
        self._flights: Flights[bytes | memoryview | None] = Flights()

    async def read(self, url: str, modality: Modality) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        """The item's array and metadata.

        Raises:
            InvalidMedia: ``url`` is not a reference, or one to another modality.
            Unavailable: the item has left the store before the request ran.
        """
        digest = digest_of(url)
        if digest is None:
            raise InvalidMedia("Media must be sent through the gateway; the engine takes references only.")
        payload = await self._find(digest)
        if payload is None:
            raise Unavailable("The request's media expired before it ran. Send it again.", retry_after_s=1)
        header, array = unpack(payload)
        if header.modality is modality:
            return array, header.metadata
        if modality is Modality.AUDIO and (track := header.metadata.get("audio_digest")):
            return await self.read(URL_SCHEME + track, modality)  # vLLM asks for a video's sound by the video's URL
        raise InvalidMedia(f"This reference is to {header.modality}, not {modality}.")

    @asynccontextmanager
    async def at_hand(self, urls: Iterable[str]) -> AsyncIterator[None]:
        """Until the block ends, what is read of these in its context is there at once, or the error that came."""
        found: dict[str, _Payload | TesseraError | None] = {}
        for digest in dict.fromkeys(map(digest_of, urls)):
            if digest is not None:
                try:
                    found[digest] = await self._find(digest)
                except TesseraError as error:
                    found[digest] = error
        before = _AT_HAND.set(found)
        try:
            yield
        finally:
            _AT_HAND.reset(before)

    def has(self, url: str) -> bool:
        """Whether to read it is no wait."""
        return digest_of(url) in _AT_HAND.get()

    async def _find(self, digest: str) -> bytes | memoryview | None:
        if digest in (at_hand := _AT_HAND.get()):
            found = at_hand[digest]
            if isinstance(found, TesseraError):
                raise found
            return found
        payload = self._cache.get(digest)
        if payload is not None:
            self._cache.move_to_end(digest)
            metrics.reads.labels("memory").inc()
            return payload
        reads = False

        async def read(_: ExitStack) -> bytes | memoryview | None:
            nonlocal reads
            reads = True
            found = await self._store.get(digest)
            if found is not None:
                self._keep(digest, found)
            return found

        async with self._flights.join(digest, read) as found:
            metrics.reads.labels("store" if reads else "shared").inc()
            return found

    def _keep(self, digest: str, payload: bytes | memoryview) -> None:
        if len(payload) > self._capacity // 4:
            return
        self._cache[digest] = payload
        self._room -= len(payload)
        while self._room < 0:
            _, dropped = self._cache.popitem(last=False)
            self._room += len(dropped)
        metrics.kept_bytes.set(self._capacity - self._room)


def install_connector(reader: MediaReader, *, allow_urls: bool) -> None:
    """Register the connector under ``NAME``, for ``VLLM_MEDIA_CONNECTOR``; called in the loop that reads the store.

    Chats are awaited in that loop. What models for pooling read vLLM renders in threads, which wait for the loop; but
    where they score, it may be in the loop itself, and what is not at hand then cannot be read.

    Args:
        allow_urls: hand other URLs to vLLM's own loader (for an engine that is also called directly).
    """
    from PIL import Image

    loop, its_thread = asyncio.get_running_loop(), threading.get_ident()

    def waited(url: str, reading: Coroutine[Any, Any, Any]) -> Any:
        if threading.get_ident() == its_thread:
            if reader.has(url):
                try:
                    reading.send(None)
                except StopIteration as done:
                    return done.value
            # It would wait for itself.
            reading.close()
            raise UnsupportedPart("vLLM reads no media here with this model. Embed it, and compare the vectors.")
        try:
            return asyncio.run_coroutine_threadsafe(reading, loop).result(_MOST_WAIT_S)
        except TimeoutError:
            raise Unavailable(
                "The request's media could not be read in time. Send it again.", retry_after_s=1
            ) from None

    # Arrays are copied out of the cache: torch wants them writable.
    class TesseraConnector(vllm_name("MediaConnector")):  # type: ignore[misc]
        async def fetch_image_async(self, image_url: str, **options: Any) -> Any:
            if allow_urls and digest_of(image_url) is None:
                return await super().fetch_image_async(image_url, **options)
            pixels, _ = await reader.read(image_url, Modality.IMAGE)
            return Image.fromarray(pixels)

        async def fetch_audio_async(self, audio_url: str) -> Any:
            if allow_urls and digest_of(audio_url) is None:
                return await super().fetch_audio_async(audio_url)
            samples, metadata = await reader.read(audio_url, Modality.AUDIO)
            return samples.copy(), metadata["sample_rate"]

        async def fetch_video_async(self, video_url: str, **options: Any) -> Any:
            if allow_urls and digest_of(video_url) is None:
                return await super().fetch_video_async(video_url, **options)
            frames, metadata = await reader.read(video_url, Modality.VIDEO)
            return frames.copy(), {name: value for name, value in metadata.items() if name != "audio_digest"}

        def fetch_image(self, image_url: str, **options: Any) -> Any:
            if allow_urls and digest_of(image_url) is None:
                return super().fetch_image(image_url, **options)
            return waited(image_url, self.fetch_image_async(image_url, **options))

        def fetch_audio(self, audio_url: str) -> Any:
            if allow_urls and digest_of(audio_url) is None:
                return super().fetch_audio(audio_url)
            return waited(audio_url, self.fetch_audio_async(audio_url))

        def fetch_video(self, video_url: str, **options: Any) -> Any:
            if allow_urls and digest_of(video_url) is None:
                return super().fetch_video(video_url, **options)
            return waited(video_url, self.fetch_video_async(video_url, **options))

    vllm_name("MEDIA_CONNECTOR_REGISTRY").register(NAME)(TesseraConnector)
