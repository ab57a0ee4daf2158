"""The seam between the stage and whatever decodes: confined processes, or threads of this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tessera.media.decoding import DecodeJob, decode, find_links, measure, page_pixels
from tessera.media.inline import INLINE_BYTES
from tessera.media.item import MediaItem, Modality, describe
from tessera.media.lanes import Lanes
from tessera.media.limits import Deadline
from tessera.media.markdown import Link
from tessera.settings import MIB, Settings
from tessera.telemetry import media as metrics

_T = TypeVar("_T")

SMALL_BYTES = 16 * MIB
"""What needs no more memory than this is decoded in a blink, such as an image of 1.5 megapixels."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An item and its packed content."""

    item: MediaItem
    payload: bytes | memoryview


class SandboxIncomplete(Exception):
    """``TESSERA_MEDIA_SANDBOX=strict``, and this machine cannot confine what decodes; with what it lacks."""


class Decoder(Protocol):
    """Decodes media.

    Its methods raise ``InvalidMedia`` and ``MediaTooLarge`` of each kind, and ``MediaDecodeTimeout``.
    """

    @property
    def confinement(self) -> str:
        """How far what decodes is confined, for the operator."""
        ...

    async def start(self) -> None:
        """Get ready, so that no upload waits for it.

        Raises:
            SandboxIncomplete: the settings ask for more than this machine can do.
        """
        ...

    async def measure(self, job: DecodeJob) -> int:
        """Bytes of memory that ``decode`` is going to need, about."""
        ...

    async def page_pixels(self, job: DecodeJob) -> list[int]:
        """Of a document, how many pixels each page is going to have."""
        ...

    async def links(self, job: DecodeJob) -> list[Link]:
        """Of a Markdown text, its images."""
        ...

    async def decode(self, job: DecodeJob, *, small: bool = False) -> list[Decoded]:
        """The item first; with ``with_audio`` the audio track second, if there is one.

        Args:
            job: what to decode.
            small: it needs no more than ``SMALL_BYTES``, and need not wait behind what needs more.
        """
        ...

    async def aclose(self) -> None:
        """Give threads or processes back."""
        ...


class ThreadDecoder:
    """Decodes in a bounded pool of threads; Pillow, FFmpeg, libsndfile and hashing release the interpreter lock.

    Args:
        settings: limits, and ``media_threads``.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._lanes = Lanes(thread_count(settings), "tessera-media")

    @property
    def confinement(self) -> str:
        """See ``Decoder``."""
        return "off"

    async def start(self) -> None:
        """See ``Decoder``; threads start with their first work."""

    async def measure(self, job: DecodeJob) -> int:
        """See ``Decoder``; only an image's header has to be read for it."""
        if job.modality is not Modality.IMAGE or job.page is not None or len(job.data) <= INLINE_BYTES:
            return measure(job, self._settings, Deadline())
        return await self._run(lambda deadline: measure(job, self._settings, deadline), small=True)

    async def page_pixels(self, job: DecodeJob) -> list[int]:
        """See ``Decoder``."""
        return await self._run(lambda deadline: page_pixels(job, self._settings, deadline), small=True)

    async def links(self, job: DecodeJob) -> list[Link]:
        """See ``Decoder``."""
        return await self._run(lambda _: find_links(job), small=False)

    async def decode(self, job: DecodeJob, *, small: bool = False) -> list[Decoded]:
        """See ``Decoder``."""

        def work(deadline: Deadline) -> list[Decoded]:
            with metrics.decode_seconds.labels(job.modality.value).time():
                payloads = [b"".join(map(bytes, packed)) for packed in decode(job, self._settings, deadline)]
                return [Decoded(describe(payload), payload) for payload in payloads]

        return await self._run(work, small=small)

    async def aclose(self) -> None:
        """Stop the threads; what is being decoded ends in the background."""
        self._lanes.shutdown()

    async def _run(self, call: Callable[[Deadline], _T], *, small: bool) -> _T:
        deadline: Deadline | None = None

        def timed() -> _T:
            # The clock starts with the work, not in the pool's queue.
            nonlocal deadline
            deadline = Deadline(self._settings.media_decode_timeout_s)
            return call(deadline)

        try:
            return await asyncio.wrap_future(self._lanes.submit(timed, small=small))
        except asyncio.CancelledError:
            # A thread cannot be stopped from outside; it stops itself at the next frame or block.
            if deadline is not None:
                deadline.cancel()
            raise


def thread_count(settings: Settings) -> int:
    """Threads that decode at once."""
    return settings.media_threads or os.cpu_count() or 1
