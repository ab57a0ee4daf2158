"""The seam between the stage and whatever decodes: threads here, killable processes behind the same protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from tessera.media import audio, frame_list, image, video
from tessera.media.item import MediaItem, MediaSpec, Modality, describe, pack
from tessera.media.lanes import Lanes
from tessera.media.limits import Deadline, max_item_bytes
from tessera.media.sniff import Kind
from tessera.settings import MIB, Settings
from tessera.telemetry import media as metrics

_T = TypeVar("_T")

SMALL_BYTES = 16 * MIB
"""What needs no more memory than this is decoded in a blink, such as an image of 1.5 megapixels."""

# Reading the header of less than this is quicker than handing it to a thread and back.
_INLINE_BYTES = 256 * 1024
# Bytes held for one pixel of an image in decode: Pillow's 4, the array's 3 and the packed 3.
_BYTES_PER_PIXEL = 10
# Bytes of decoded sound for an encoded byte, at 16 kHz: speech codecs go down to 8 kbit/s. An estimate; the hard
# bound is the duration limit.
_EXPANSION = {"audio/wav": 8, "audio/aiff": 8, "audio/flac": 16}
_LOSSY_EXPANSION = 64
_EXPANSION_RATE_HZ = 16_000
_BYTES_PER_SAMPLE = 4


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One piece of media to decode.

    Args:
        modality: what the model is to see it as.
        kind: format of the data.
        data: encoded bytes.
        spec: what the model takes.
        with_audio: for a video, decode its sound too.
    """

    modality: Modality
    kind: Kind
    data: bytes
    spec: MediaSpec
    with_audio: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """An item and its packed content."""

    item: MediaItem
    payload: bytes


class Decoder(Protocol):
    """Decodes media. Errors out of both methods: ``InvalidMedia``, ``MediaTooLarge``, ``MediaDecodeTimeout``."""

    async def measure(self, job: DecodeJob) -> int:
        """Bytes of memory that ``decode`` is going to need, about."""
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

    async def measure(self, job: DecodeJob) -> int:
        """See ``Decoder``; only an image's header has to be read for it."""
        if job.modality is Modality.IMAGE:
            settings = self._settings
            if len(job.data) <= _INLINE_BYTES:
                pixels = image.count_pixels(job.data, job.kind, settings, Deadline())
            else:
                pixels = await self._run(
                    lambda deadline: image.count_pixels(job.data, job.kind, settings, deadline), small=True
                )
            return len(job.data) + pixels * _BYTES_PER_PIXEL
        return estimate(job, self._settings)

    async def decode(self, job: DecodeJob, *, small: bool = False) -> list[Decoded]:
        """See ``Decoder``."""
        return await self._run(lambda deadline: decode(job, self._settings, deadline), small=small)

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


def estimate(job: DecodeJob, settings: Settings) -> int:
    """Bytes of memory that a video or audio is going to need, without looking into it."""
    rate = job.spec.audio_sample_rate_hz
    expanded = len(job.data) * _EXPANSION.get(job.kind.mime, _LOSSY_EXPANSION) * rate / _EXPANSION_RATE_HZ
    sound = int(min(settings.media_max_audio_s * rate * _BYTES_PER_SAMPLE, expanded))
    size = len(job.data)
    if job.modality is Modality.VIDEO:
        size += 2 * min(max_item_bytes(settings), job.spec.video_max_frames * settings.media_max_frame_pixels * 3)
    if job.modality is Modality.AUDIO or job.with_audio:
        # The samples, and the packed item.
        size += sound * 2
    return size


def decode(job: DecodeJob, settings: Settings, deadline: Deadline) -> list[Decoded]:
    """Decode, pack and digest one job, in whatever thread or process calls it.

    Raises:
        InvalidMedia: damaged, or not what it says.
        MediaTooLarge: over a limit.
        MediaDecodeTimeout: the deadline has passed.
    """
    with metrics.decode_seconds.labels(job.modality.value).time():
        if job.modality is Modality.IMAGE:
            picture = image.decode(job.data, job.kind, settings, deadline, job.spec.image_resize)
            return [_finish(*picture, job.modality)]
        arguments = (job.data, job.kind, job.spec, settings, deadline)
        if job.modality is Modality.AUDIO:
            return [_finish(*audio.decode(*arguments), job.modality)]
        listed = job.kind == frame_list.KIND
        if listed:
            frames, metadata = frame_list.decode(job.data, job.spec, settings, deadline)
        else:
            frames, metadata = video.decode(*arguments)
        if not job.with_audio:
            return [_finish(frames, metadata, job.modality)]
        track = None if listed else audio.decode_track(*arguments)
        sound = [] if track is None else [_finish(*track, Modality.AUDIO)]
        # In the packed header too: a worker that is asked for the sound of a video knows only the video.
        metadata["audio_digest"] = sound[0].item.digest if sound else None
        return [_finish(frames, metadata, job.modality), *sound]


def _finish(array: npt.NDArray[Any], metadata: dict[str, Any], modality: Modality) -> Decoded:
    payload = pack(array, modality, metadata)
    return Decoded(describe(payload, array, modality, metadata), payload)
