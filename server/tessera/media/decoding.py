"""What is done with the bytes of one image, video or audio, in whatever thread or process calls it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tessera.media import audio, frame_list, image, pdf, video
from tessera.media.item import MediaSpec, Modality, head, lay_out
from tessera.media.limits import Deadline, max_item_bytes, media_errors
from tessera.media.markdown import Link, links
from tessera.media.pixels import Pixels
from tessera.media.sniff import MARKDOWN, Kind
from tessera.settings import Settings

# Bytes held for one pixel of an image in decode: Pillow's 4, 3 of what it is made from or into, and 3 in the file by
# which it goes out.
_BYTES_PER_PIXEL = 10
# Bytes of decoded sound for an encoded byte, at 16 kHz: speech codecs go down to 8 kbit/s. An estimate; the hard
# bound is the duration limit.
_EXPANSION = {"audio/wav": 8, "audio/aiff": 8, "audio/flac": 16}
_LOSSY_EXPANSION = 64
_EXPANSION_RATE_HZ = 16_000
_BYTES_PER_SAMPLE = 4


Packed = Sequence[bytes | memoryview | Pixels]
"""A packed item, in pieces that follow one another: pixels are not copied only to have something in front of them."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a document.

    Args:
        number: from 0.
        pixels: that it is going to have.
    """

    number: int
    pixels: int


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One piece of media to decode.

    Args:
        modality: what the model is to see it as.
        kind: format of the data.
        data: encoded bytes.
        spec: what the model takes.
        with_audio: for a video, decode its sound too.
        page: of a document, which is an image.
    """

    modality: Modality
    kind: Kind
    data: bytes
    spec: MediaSpec
    with_audio: bool = False
    page: Page | None = None

    @property
    def what(self) -> str:
        """As messages name it."""
        if self.kind == MARKDOWN:
            return "text"
        return self.modality.value if self.page is None else "page"


def measure(job: DecodeJob, settings: Settings, deadline: Deadline) -> int:
    """Bytes of memory that ``decode`` is going to need, about; of an image by its header.

    Raises:
        MediaDecodeFailed: an image's header cannot be read.
        MediaTooLarge: an image over a limit.
    """
    size = len(job.data)
    if job.page is not None:
        return size + job.page.pixels * pdf.BYTES_PER_PIXEL
    if job.modality is Modality.IMAGE:
        return size + image.count_pixels(job.data, job.kind, settings, deadline) * _BYTES_PER_PIXEL
    rate = job.spec.audio_sample_rate_hz
    expanded = size * _EXPANSION.get(job.kind.mime, _LOSSY_EXPANSION) * rate / _EXPANSION_RATE_HZ
    sound = int(min(settings.media_max_audio_s * rate * _BYTES_PER_SAMPLE, expanded))
    if job.modality is Modality.VIDEO:
        size += 2 * min(max_item_bytes(settings), job.spec.video_max_frames * settings.media_max_frame_pixels * 3)
    if job.modality is Modality.AUDIO or job.with_audio:
        # The samples, and the packed item.
        size += sound * 2
    return size


def page_pixels(job: DecodeJob, settings: Settings, deadline: Deadline) -> list[int]:
    """Of a document, how many pixels each page is going to have.

    Raises:
        MediaDecodeFailed: it cannot be read.
        MediaTooLarge: too many pages.
    """
    return [math.prod(size) for size in pdf.sizes(job.data, settings, deadline, job.spec.image_resize)]


def find_links(job: DecodeJob) -> list[Link]:
    """Of a Markdown text, its images. Raises ``MediaTooLarge``: too many."""
    with media_errors("text"):
        return links(job.data.decode())


def decode(job: DecodeJob, settings: Settings, deadline: Deadline) -> list[Packed]:
    """Decode and pack one job: the item first; with ``with_audio`` the audio track second, if there is one.

    Raises:
        MediaDecodeFailed: damaged, or not what it says.
        MediaTooLarge: over a limit.
        MediaDecodeTimeout: the deadline has passed.
    """
    if job.modality is Modality.IMAGE:
        resize = job.spec.image_resize
        if job.page is None:
            pixels = Pixels(image.decode(job.data, job.kind, settings, deadline, resize))
        else:
            pixels = Pixels(pdf.render(job.data, job.page.number, settings, deadline, resize))
        return [(head(pixels.shape, job.modality, {}), pixels)]
    arguments = (job.data, job.kind, job.spec, settings, deadline)
    if job.modality is Modality.AUDIO:
        samples, metadata = audio.decode(*arguments)
        return [lay_out(samples, job.modality, metadata)]
    listed = job.kind == frame_list.KIND
    if listed:
        frames, metadata = frame_list.decode(job.data, job.spec, settings, deadline)
    else:
        frames, metadata = video.decode(*arguments)
    if not job.with_audio:
        return [lay_out(frames, job.modality, metadata)]
    track = None if listed else audio.decode_track(*arguments)
    sound = [] if track is None else [lay_out(track[0], Modality.AUDIO, track[1])]
    # In the packed header too: a worker that is asked for the sound of a video knows only the video.
    metadata["audio_digest"] = _digest(sound[0]) if sound else None
    return [lay_out(frames, job.modality, metadata), *sound]


def _digest(packed: Sequence[bytes | memoryview]) -> str:
    hasher = hashlib.sha256()
    for piece in packed:
        hasher.update(piece)
    return hasher.hexdigest()
