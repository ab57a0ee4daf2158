"""Media parts of chat messages: found, checked against what the model takes, and replaced by references.

What leaves this file holds no byte and no URL of a client's: the worker refuses everything but references.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tessera.errors import (
    InvalidRequest,
    MissingField,
    TesseraError,
    TooManyParts,
    UnsupportedModality,
)
from tessera.gateway.body import Document, Path, written
from tessera.gateway.part import MEDIA, TEXT, check_text, kind_of
from tessera.media import MOST_FRAMES, MediaSource, MediaSpec, MediaStage, Modality
from tessera.queue import ModelCard

# Options of processors (`mm_processor_kwargs`) that have no say in the size of images.
_SIZE_IS_KEPT = {"use_audio_in_video", "fps", "num_frames"}


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A media part, and where it stands.

    Attributes:
        part: the part itself.
    """

    at: Path
    modality: Modality
    source: MediaSource
    part: dict[str, Any]

    @property
    def path(self) -> str:
        """As error messages name it, such as ``messages[0].content[2]``."""
        return written(self.at)


def find_media(document: Document) -> list[MediaPart]:
    """All media parts of its messages, which were checked (see ``conversation``), in order.

    Raises:
        InvalidRequest, MissingField, UnsupportedPart: naming the part.
    """
    messages = document.value.get("messages", [])
    return [found for at, part in _parts(messages) if (found := _media_part(document, at, part))]


def check_media(parts: list[MediaPart], card: ModelCard) -> None:
    """Check the parts against what the model takes.

    Raises:
        UnsupportedModality, TooManyParts: naming the first part that does not fit.
    """
    seen: Counter[Modality] = Counter()
    for p in parts:
        seen[p.modality] += 1
        most = card.limits.get(p.modality, 0)
        if not most:
            takes = ", ".join(["text", *card.limits])
            raise UnsupportedModality(
                f"The model `{card.model}` takes no {p.modality} input; it takes {takes}.", param=p.path
            )
        if seen[p.modality] > most:
            raise TooManyParts(
                f"At most {most} {p.modality} part(s) may be in one request to `{card.model}`.", param=p.path
            )


async def prepare_media(
    document: Document, parts: list[MediaPart], card: ModelCard, stage: MediaStage, holder: str
) -> None:
    """Fetch, decode and store all media at once, and put references in its place in what goes on.

    Args:
        holder: whose media it is, from ``stage.hold``.

    Raises:
        TesseraError: of the first part that failed, with its path as ``param``.
    """
    spec = _spec(document.value, card)
    options = document.value.get("mm_processor_kwargs")
    with_audio = isinstance(options, dict) and bool(options.get("use_audio_in_video"))
    try:
        async with asyncio.TaskGroup() as tasks:
            for p in parts:
                tasks.create_task(_prepare(document, p, spec, stage, holder, with_audio))
    except* TesseraError as failed:
        raise failed.exceptions[0] from None


async def _prepare(
    document: Document, p: MediaPart, spec: MediaSpec, stage: MediaStage, holder: str, with_audio: bool
) -> None:
    with _naming(p.path):
        with_audio = with_audio and p.modality is Modality.VIDEO
        item = await stage.prepare(p.modality, p.source, spec, holder=holder, with_audio=with_audio)
    kind = f"{p.modality}_url"
    detail = p.part.get(kind)
    kept = {"detail": detail["detail"]} if isinstance(detail, dict) and "detail" in detail else {}
    # vLLM caches by `uuid`; one that a client chose could name somebody else's image.
    document.set(p.at, {"type": kind, kind: {"url": item.url, **kept}, "uuid": item.digest})


def _parts(messages: list[Any]) -> Iterator[tuple[Path, Any]]:
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for j, part in enumerate(content):
                yield ("messages", i, "content", j), part
        elif not isinstance(content, str | None):
            path = f"messages[{i}].content"
            raise InvalidRequest("`content` must be a string or an array of parts.", param=path)


def _media_part(document: Document, at: Path, part: Any) -> MediaPart | None:
    if isinstance(part, str):
        return None
    if not isinstance(part, dict):
        raise InvalidRequest("A content part must be an object.", param=written(at))
    kind = kind_of(at, part)
    if kind in TEXT:
        check_text(at, kind, part)
        # Without a `type`, or with a `uuid`, vLLM takes a part for the medium that any of its other fields names.
        if part.get("type") is None:
            document.set((*at, "type"), kind)
        if "uuid" in part:
            document.remove((*at, "uuid"))
        return None
    modality = MEDIA[kind]
    value = part.get(kind)
    if kind == "input_audio":
        if not isinstance(value, dict) or not isinstance(value.get("data"), str) or not value["data"]:
            raise MissingField("`input_audio` must have `data` (base64) and `format`.", param=written(at))
        source = MediaSource.from_base64(document.string(value["data"]), str(value.get("format", "")))
        return MediaPart(at, modality, source, part)
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise MissingField(f"`{kind}` must have a `url`.", param=written(at))
    with _naming(written(at)):
        return MediaPart(at, modality, MediaSource.from_url(document.string(url)), part)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors of the media stage do not know which part they are about."""
    try:
        yield
    except TesseraError as error:
        error.param = path
        raise


def _spec(body: dict[str, Any], card: ModelCard) -> MediaSpec:
    """What the model takes, with the request's own sampling of videos (vLLM's ``media_io_kwargs``)."""
    spec = MediaSpec.from_json(card.media)
    options = body.get("mm_processor_kwargs")
    if isinstance(options, dict) and options.keys() - _SIZE_IS_KEPT:
        # It may want more of an image than the processor's own size.
        spec = replace(spec, image_resize=None)
    kwargs = body.get("media_io_kwargs")
    video = kwargs.get("video") if isinstance(kwargs, dict) else None
    if not isinstance(video, dict):
        return spec
    frames, fps = video.get("num_frames", spec.video_max_frames), video.get("fps", spec.video_fps)
    if not isinstance(frames, int) or isinstance(frames, bool) or not 0 < frames <= MOST_FRAMES:
        raise InvalidRequest(f"`num_frames` must be from 1 to {MOST_FRAMES}.", param="media_io_kwargs.video.num_frames")
    if fps is not None and (not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps <= 120):
        raise InvalidRequest("`fps` must be above 0 and at most 120.", param="media_io_kwargs.video.fps")
    return replace(spec, video_max_frames=frames, video_fps=fps)
