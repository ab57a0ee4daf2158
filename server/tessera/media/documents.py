"""Documents: read once, and each page of them an image in the store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from tessera.errors import MediaTooLarge, TesseraError
from tessera.media import inline
from tessera.media.decoder import Decoder
from tessera.media.decoding import DecodeJob, Page
from tessera.media.fetch import Fetcher
from tessera.media.item import MediaItem, MediaSpec, Modality
from tessera.media.known_items import KnownItems
from tessera.media.markdown import Link
from tessera.media.memory import MediaMemory
from tessera.media.pdf import naming_page
from tessera.media.sniff import MARKDOWN, PDF, Kind, sniff
from tessera.media.source import MediaSource
from tessera.settings import Settings
from tessera.telemetry import media as metrics

# Makes an item of a page and sees to it that it is in the store, or whether one still is.
Keep = Callable[[DecodeJob, str], Awaitable[MediaItem]]
Touch = Callable[[str, str], Awaitable[bool]]

_MOST_KNOWN = 256
# No text has them.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_LOOKED_AT = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """What a part points at that may be more than one item.

    Attributes:
        kind: None: no medium.
    """

    data: bytes
    kind: Kind | None

    @property
    def paged(self) -> bool:
        """Whether it has pages."""
        return self.kind == PDF

    def text(self, most_bytes: int) -> str | None:
        """The text that it is, in UTF-8, with line feeds at the ends of its lines; None: it is none.

        Raises:
            MediaTooLarge: more than so many bytes.
        """
        if self.kind is not None or not self.data or _CONTROL.search(self.data, 0, _LOOKED_AT):
            return None
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
        if len(self.data) > most_bytes:
            raise MediaTooLarge(f"The text has {len(self.data)} bytes; at most {most_bytes} are allowed.")
        return text.replace("\r\n", "\n").replace("\r", "\n")


class Documents:
    """Makes images of pages.

    Args:
        settings: limits.
        fetcher: gets those that are behind a URL.
        memory: where their bytes are counted.
        decoder: what paints them.
        keep: what becomes of each.
        touch: whether one that is known is still there.

    Attributes:
        most_text_bytes: of a text that comes as a file.
    """

    def __init__(
        self, settings: Settings, fetcher: Fetcher, memory: MediaMemory, decoder: Decoder, keep: Keep, touch: Touch
    ):
        self._max_bytes = settings.media_max_bytes
        self.most_text_bytes = settings.media_max_text_bytes
        self._fetcher = fetcher
        self._memory = memory
        self._decoder = decoder
        self._keep = keep
        self._touch = touch
        self._known: KnownItems[Sequence[MediaItem]] = KnownItems(_MOST_KNOWN)

    @asynccontextmanager
    async def open(self, source: MediaSource) -> AsyncIterator[OpenedFile]:
        """What a source points at, which is held until the block ends.

        Raises:
            InvalidMedia, MediaTooLarge, MediaFetchFailed, MediaMemoryFull: as ``MediaStage.prepare``.
        """
        counted = metrics.encoded_bytes.labels
        if source.remote:
            async with self._fetcher.fetch(source.text, Modality.IMAGE) as data:
                counted(Modality.IMAGE.value, "fetched").inc(len(data))
                yield OpenedFile(data, sniff(data))
            return
        async with self._memory.encoded.hold(min(source.most_bytes, self._max_bytes)):
            if source.stored is not None:
                data = await source.stored.read(self._max_bytes)
            else:
                data = await inline.run(lambda: source.decode(self._max_bytes), len(source.text))
            counted(Modality.IMAGE.value, "inline" if source.stored is None else "file").inc(len(data))
            yield OpenedFile(data, sniff(data))

    async def pages(
        self, document: OpenedFile, spec: MediaSpec, holder: str, counted: Callable[[int], None]
    ) -> Sequence[MediaItem]:
        """Each page of a document that has pages, in order.

        Args:
            spec: what the model takes.
            holder: whose they are.
            counted: is told of their number before any is painted; what it raises ends it.

        Raises:
            MediaDecodeFailed, MediaTooLarge, MediaDecodeTimeout: naming the page, where it is one's fault.
            TesseraError: as ``MediaStage.prepare``.
        """
        key = (await inline.sha256(document.data), spec.image_resize)
        if (known := await self._recall(key, holder, counted)) is not None:
            return known
        job = DecodeJob(Modality.IMAGE, PDF, document.data, spec)
        pixels = await self._decoder.page_pixels(job)
        counted(len(pixels))
        pages = [Page(number, each) for number, each in enumerate(pixels)]
        metrics.cache_misses.labels(Modality.IMAGE.value).inc(len(pages))
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._page(job, page, holder)) for page in pages]
        except* TesseraError as failed:
            raise failed.exceptions[0] from None
        items = tuple(task.result() for task in running)
        metrics.pages.inc(len(items))
        self._known.keep(key, items)
        return items

    async def links(self, text: str) -> list[Link]:
        """The images of a Markdown text (see ``markdown``).

        Raises:
            MediaTooLarge: too many.
            MediaDecodeTimeout: it takes longer to find them than the server allows.
        """
        return await self._decoder.links(DecodeJob(Modality.IMAGE, MARKDOWN, text.encode(), MediaSpec()))

    async def _recall(
        self, key: tuple[object, ...], holder: str, counted: Callable[[int], None]
    ) -> Sequence[MediaItem] | None:
        known = self._known.get(key)
        if known is None:
            return None
        counted(len(known))
        for item in known:
            if not await self._touch(item.digest, holder):
                return None
        metrics.cache_hits.labels(Modality.IMAGE.value).inc(len(known))
        return known

    async def _page(self, job: DecodeJob, page: Page, holder: str) -> MediaItem:
        with naming_page(page.number):
            return await self._keep(replace(job, page=page), holder)
