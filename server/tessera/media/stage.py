"""The media stage: from what a content part points at to an item in the store."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from tessera.errors import TesseraError, Unavailable
from tessera.media import frame_list, inline
from tessera.media.decoder import SMALL_BYTES, Decoded, Decoder, ThreadDecoder
from tessera.media.decoding import DecodeJob
from tessera.media.documents import Documents
from tessera.media.fetch import Fetcher
from tessera.media.fingerprints import Fingerprints
from tessera.media.item import MediaItem, MediaSpec, Modality, describe
from tessera.media.known_items import KnownItems
from tessera.media.memory import MediaMemory
from tessera.media.reduction import Fit, Reduction
from tessera.media.single_frames import single_frames
from tessera.media.sniff import identify
from tessera.media.source import MediaSource
from tessera.media.store import MediaStore
from tessera.settings import Settings
from tessera.telemetry import media as metrics

_Key = tuple[object, ...]


class MediaStage:
    """Fetches, decodes and stores media; what it remembers and the store still has is done once.

    Args:
        settings: limits.
        store: where items go.
        decoder: what decodes; None: threads in this process.

    Attributes:
        memory: what is held of media in this process.
        documents: makes images of pages.
    """

    def __init__(self, settings: Settings, store: MediaStore, *, decoder: Decoder | None = None):
        self._store = store
        self._max_bytes = settings.media_max_bytes
        self._decoder = decoder or ThreadDecoder(settings)
        self.memory = MediaMemory(settings)
        self._fetcher = Fetcher(settings, self.memory.encoded)
        self._fingerprints = Fingerprints()
        self._known: KnownItems[MediaItem] = KnownItems()
        self.documents = Documents(settings, self._fetcher, self.memory, self._decoder, self._keep_page, store.touch)

    @property
    def confinement(self) -> str:
        """How far what decodes is confined: ``complete``, ``without …``, ``not started`` or ``off``."""
        return self._decoder.confinement

    async def start(self) -> None:
        """Get ready. Raises ``SandboxIncomplete`` where the settings ask for more than this machine can do."""
        await self._decoder.start()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[str]:
        """A holder, whose items stay in the store until the context ends, however it ends."""
        holder = secrets.token_hex(8)
        try:
            yield holder
        finally:
            self._store.release(holder)

    def release(self, holder: str) -> None:
        """End what somebody holds, soon."""
        self._store.release(holder)

    async def prepare(
        self,
        modality: Modality,
        source: MediaSource,
        spec: MediaSpec,
        *,
        holder: str | None = None,
        with_audio: bool = False,
        fit: Fit | None = None,
    ) -> MediaItem:
        """Make an item of a content part's media and see to it that it is in the store.

        Args:
            modality: modality of the content part.
            source: what it points at.
            spec: what the model takes.
            holder: from ``hold``, or a name that is given to ``release`` later; None: the item may go as soon as its
                room is needed.
            with_audio: for a video, store its sound as an item of its own and name it in
                ``metadata["audio_digest"]`` (None without an audio stream).
            fit: how much smaller it is to be than the spec has it; only that is stored.

        Raises:
            InvalidMedia: not media of that modality, or damaged.
            MediaTooLarge: over a limit.
            MediaDecodeTimeout: it takes longer to decode than the server allows.
            MediaFetchFailed: the URL does not lead to media.
            MediaMemoryFull: too much is in memory, also after waiting for some to go.
            MediaStoreFull: no room, also after waiting for it.
            MediaStoreUnavailable: the store cannot be reached.
        """
        if holder is None:
            async with self.hold() as own:
                return await self.prepare(modality, source, spec, holder=own, with_audio=with_audio, fit=fit)
        try:
            item = await self._prepare(modality, source, spec, holder, with_audio and modality is Modality.VIDEO, fit)
        except TesseraError as error:
            metrics.errors.labels(modality.value, error.code).inc()
            raise
        if modality is not Modality.IMAGE:
            metrics.duration_seconds.labels(modality.value).inc(float(item.metadata.get("duration") or 0))
        return item

    async def reduce(self, item: MediaItem, reduction: Reduction, holder: str) -> MediaItem:
        """Make an item smaller that was prepared for the same holder.

        Raises:
            Unavailable: it has left the store.
            MediaMemoryFull, MediaStoreFull, MediaStoreUnavailable: as ``prepare``.
        """
        key = (item.digest, reduction)
        if (known := await self._recall(item.modality, key, holder)) is not None:
            return known
        async with self.read(item) as payload:
            piece = await _reduced(Decoded(item, payload), reduction)
            await self._put(piece, holder)
        self._known.keep(key, piece.item)
        return piece.item

    async def frames(self, video: MediaItem, holder: str) -> list[MediaItem]:
        """The frames of a video that was prepared for the same holder, each as an image.

        Raises:
            Unavailable: it has left the store.
            MediaMemoryFull, MediaStoreFull, MediaStoreUnavailable: as ``prepare``.
        """
        async with self.read(video) as payload:
            pieces = await inline.run(lambda: single_frames(payload), video.nbytes)
            for piece in pieces:
                await self._put(piece, holder)
        return [piece.item for piece in pieces]

    @asynccontextmanager
    async def read(self, item: MediaItem) -> AsyncIterator[bytes | memoryview]:
        """The packed content of an item that somebody holds, and room for something that is made of it.

        Raises:
            Unavailable: it has left the store.
            MediaMemoryFull, MediaStoreUnavailable: as ``prepare``.
        """
        async with self.memory.decoding(2 * item.nbytes):
            payload = await self._store.get(item.digest)
            if payload is None:
                raise Unavailable("The media store has lost media of this request. Send it again.", retry_after_s=1)
            yield payload

    async def aclose(self) -> None:
        """Close connections and stop decoding."""
        await self._fetcher.aclose()
        await self._decoder.aclose()
        await self._store.settle()

    async def _prepare(
        self,
        modality: Modality,
        source: MediaSource,
        spec: MediaSpec,
        holder: str,
        with_audio: bool,
        fit: Fit | None,
    ) -> MediaItem:
        wanted = (*_wanted(modality, spec, with_audio), fit)
        if source.remote:
            # What a URL leads to may change, so it is fetched each time; only its bytes are remembered.
            async with self._fetcher.fetch(source.text, modality) as data:
                metrics.encoded_bytes.labels(modality.value, "fetched").inc(len(data))
                key = (await inline.sha256(data), *wanted)
                if (item := await self._recall(modality, key, holder)) is not None:
                    return item
                job = DecodeJob(modality, identify(data, modality, source.declared), data, spec, with_audio)
                item = await self._decode_and_store(job, holder, fit)
                self._known.keep(key, item)
                return item
        glance = source.glance()
        if glance is None or self._known.may_have(glance):
            fingerprint = await self._fingerprints.of(source)
            if (item := await self._recall(modality, (fingerprint, *wanted), holder)) is not None:
                return item
            item = await self._take(modality, source, spec, holder, with_audio, fit)
        else:
            metrics.cache_misses.labels(modality.value).inc()
            # It is not waited for where it tells nothing: its turn comes while the item is being decoded.
            hashing = asyncio.create_task(self._fingerprints.of(source))
            try:
                item = await self._take(modality, source, spec, holder, with_audio, fit)
                fingerprint = await hashing
            finally:
                hashing.cancel()
        self._known.keep((fingerprint, *wanted), item, glance)
        return item

    async def _take(
        self,
        modality: Modality,
        source: MediaSource,
        spec: MediaSpec,
        holder: str,
        with_audio: bool,
        fit: Fit | None,
    ) -> MediaItem:
        """Make an item of what a source carries."""
        listed = modality is Modality.VIDEO and source.declared == frame_list.KIND.mime
        async with self.memory.encoded.hold(min(source.most_bytes, self._max_bytes)):
            data = await self._read(source, spec if listed else None)
            metrics.encoded_bytes.labels(modality.value, "inline" if source.stored is None else "file").inc(len(data))
            kind = frame_list.KIND if listed else identify(data, modality, source.declared)
            return await self._decode_and_store(DecodeJob(modality, kind, data, spec, with_audio), holder, fit)

    async def _recall(self, modality: Modality, key: _Key, holder: str) -> MediaItem | None:
        """The item made of the same source before, if it and its sound are still in the store."""
        item = self._known.get(key)
        if item is not None:
            there = await self._store.touch(item.digest, holder)
            sound = item.metadata.get("audio_digest")
            if there and sound is not None:
                there = await self._store.touch(sound, holder)
            if there:
                metrics.cache_hits.labels(modality.value).inc()
                return item
        metrics.cache_misses.labels(modality.value).inc()
        return None

    async def _read(self, source: MediaSource, list_spec: MediaSpec | None) -> bytes:
        """What a source carries; with ``list_spec``, of a list of frames those that are wanted."""
        if source.stored is not None:
            return await source.stored.read(self._max_bytes)

        def read() -> bytes:
            if list_spec is None:
                return source.decode(self._max_bytes)
            return frame_list.read(source.encoded, list_spec, self._max_bytes)

        return await inline.run(read, len(source.text))

    async def _decode_and_store(self, job: DecodeJob, holder: str, fit: Fit | None) -> MediaItem:
        need = await self._decoder.measure(job)
        # Held until the store has the result: a slow store must slow decoding down, not fill the memory.
        async with self.memory.decoding(need):
            decoded = await self._decoder.decode(job, small=need <= SMALL_BYTES)
            if fit is not None:
                whole = decoded[0].item
                if (reduction := await inline.run(lambda: fit(whole), whole.nbytes)) is not None:
                    decoded[0] = await _reduced(decoded[0], reduction)
            item, *sounds = [piece.item for piece in decoded]
            # The sound first: a video that is in the store must not refer to sound that is not.
            for piece in reversed(decoded):
                await self._put(piece, holder)
            del piece
            # The system takes milliseconds to have a large one's memory back.
            await inline.run(decoded.clear, sum(each.nbytes for each in (item, *sounds)))
            return replace(item, sound=sounds[0] if sounds else None)

    async def _keep_page(self, job: DecodeJob, holder: str) -> MediaItem:
        return await self._decode_and_store(job, holder, None)

    async def _put(self, piece: Decoded, holder: str) -> None:
        modality = piece.item.modality.value
        metrics.decoded_bytes.labels(modality).inc(piece.item.nbytes)
        with metrics.store_seconds.labels(modality).time():
            if await self._store.put(piece.item.digest, piece.payload, holder):
                metrics.stored_bytes.labels(modality).inc(piece.item.nbytes)


async def _reduced(piece: Decoded, reduction: Reduction) -> Decoded:
    def reduce() -> Decoded:
        payload = reduction.apply(piece.payload)
        return Decoded(replace(describe(payload), sound=piece.item.sound), payload)

    return await inline.run(reduce, piece.item.nbytes)


def _wanted(modality: Modality, spec: MediaSpec, with_audio: bool) -> _Key:
    """The part of a cache key that tells what was made of the source; only what changes the result."""
    if modality is Modality.IMAGE:
        return modality, spec.image_resize
    if modality is Modality.AUDIO:
        return modality, spec.audio_sample_rate_hz
    sound = spec.audio_sample_rate_hz if with_audio else None
    return modality, spec.video_max_frames, spec.video_fps, spec.video_sampling, sound
