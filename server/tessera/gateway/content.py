"""Media parts of chat messages: found, checked against what the model takes, and replaced by references.

What leaves this file holds no byte and no URL of a client's: the worker refuses everything but references.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from tessera.errors import (
    InvalidMedia,
    InvalidRequest,
    MissingField,
    TesseraError,
    TooManyParts,
    UnsupportedModality,
)
from tessera.gateway.body import Document, Endpoint, Path, written
from tessera.gateway.conversation import conversations_of
from tessera.gateway.media_options import MediaOptions, tell
from tessera.gateway.media_part import SUBTITLES, FilePart, MediaPart, counted, naming, of_image, read_part
from tessera.gateway.part import FILES, MEDIA, TEXT, check_text, kind_of
from tessera.gateway.visual_budget import BUDGET, MOST_TOKENS, PartLimit, VisualLimits
from tessera.media import MediaItem, MediaStage, Modality, Reduction
from tessera.queue import ModelCard

# Is told of a part, what it is, and the options with which the engine gets it.
Arrived = Callable[[MediaPart, MediaItem, MediaOptions], None]

# Of all prompts of a request together: what a request holds of the media store, and what is fetched for it.
MOST_PARTS = 128


def find_media(document: Document, endpoint: Endpoint) -> list[MediaPart | FilePart]:
    """All media parts of its messages, which were checked (see ``conversation``), and of its contents, in order.

    Raises:
        InvalidRequest, MissingField, UnsupportedPart: naming the part.
    """
    if BUDGET in document.value:
        document.remove((BUDGET,))  # the gateway's own
    if endpoint.read is not None:
        return endpoint.read(document)
    parts = chain(_parts(document, endpoint), _parts_of_contents(document, endpoint))
    return [found for at, part in parts if (found := _media_part(document, at, part))]


def check_media(parts: list[MediaPart], card: ModelCard, endpoint: Endpoint, *, sound_of_videos: bool = False) -> None:
    """Check the parts against what the model takes in one prompt.

    Args:
        sound_of_videos: each video is a sound, too.

    Raises:
        UnsupportedModality, TooManyParts: naming the first part that does not fit.
    """
    if len(parts) > MOST_PARTS and endpoint.several_prompts:
        raise TooManyParts(f"At most {MOST_PARTS} media parts may be in one request.", param=parts[MOST_PARTS].path)
    seen: Counter[tuple[Path, Modality]] = Counter()
    for p in parts:
        prompt = prompt_of(p.at, endpoint)
        modalities = [p.modality]
        if sound_of_videos and p.modality is Modality.VIDEO:
            modalities.append(Modality.AUDIO)
        for modality in modalities:
            seen[prompt, modality] += 1
            with naming(p), counted(modality):
                scope = "prompt" if endpoint.several_prompts else "request"
                _check_number(modality, seen[prompt, modality], card, scope)


def prompt_of(at: Path, endpoint: Endpoint) -> Path:
    """Where the prompt stands of which a part is one: a conversation, a side of a pair, or the part itself."""
    if len(at) < len(("messages", 0, "content", 0)) - 1:
        return at
    return at[:-2] if at[0] in endpoint.contents else at[:-3]


async def prepare_media(
    document: Document,
    parts: list[MediaPart],
    options: MediaOptions,
    limits: VisualLimits,
    stage: MediaStage,
    holder: str,
    arrived: Arrived | None = None,
) -> tuple[list[MediaItem], MediaOptions]:
    """Fetch, decode and store all media at once, and put references in its place in what goes on.

    Args:
        limits: how much of it the model gets to see.
        holder: whose media it is, from ``stage.hold``.
        arrived: called with each item once it is as it will be; what it raises ends the others.

    Returns:
        The items, one for each part, and the options with what these limits made of them.

    Raises:
        TesseraError: of the first part that failed, with its path as ``param``.
    """
    early = arrived if limits.settled else None
    items = await _together([_prepare(p, limits.fit(i), options, stage, holder, early) for i, p in enumerate(parts)])
    decision = await limits.decide(items)
    smaller = [_reduce(parts[i], items[i], each, stage, holder) for i, each in decision.reductions.items()]
    for i, item in zip(decision.reductions, await _together(smaller), strict=True):
        items[i] = item
    for p, item in zip(parts, items, strict=True):
        document.set(p.at, p.refer(p, item))
    options = tell(document, options, decision.told)
    if arrived is not None and early is None:
        for p, item in zip(parts, items, strict=True):
            arrived(p, item, options)
    return items, options


async def _together(work: Sequence[Coroutine[Any, Any, MediaItem]]) -> list[MediaItem]:
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in work]
    except* TesseraError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in running]


async def _prepare(
    p: MediaPart,
    fit: PartLimit | None,
    options: MediaOptions,
    stage: MediaStage,
    holder: str,
    arrived: Arrived | None,
) -> MediaItem:
    with naming(p), of_image(p.nth):
        with_audio = options.sound_of_videos and p.modality is Modality.VIDEO
        if p.item is None:
            spec = options.spec
            item = await stage.prepare(p.modality, p.source, spec, holder=holder, with_audio=with_audio, fit=fit)
        else:
            smaller = fit(p.item) if fit is not None else None
            item = p.item if smaller is None else await stage.reduce(p.item, smaller, holder)
        if with_audio and item.metadata["audio_digest"] is None:
            raise InvalidMedia("The video has no sound, which `mm_processor_kwargs.use_audio_in_video` asks for.")
    if arrived is not None:
        arrived(p, item, options)
    return item


async def _reduce(p: MediaPart, item: MediaItem, reduction: Reduction, stage: MediaStage, holder: str) -> MediaItem:
    with naming(p):
        return await stage.reduce(item, reduction, holder)


def _check_number(modality: Modality, number: int, card: ModelCard, scope: str) -> None:
    most = card.limits.get(modality, 0)
    if not most:
        takes = ", ".join(["text", *card.limits])
        raise UnsupportedModality(f"The model `{card.model}` takes no {modality} input; it takes {takes}.")
    if number > most:
        raise TooManyParts(f"At most {most} {modality} part(s) may be in one {scope} to `{card.model}`.")


def _parts(document: Document, endpoint: Endpoint) -> Iterator[tuple[Path, Any]]:
    for at, messages in conversations_of(document, endpoint):
        for i, message in enumerate(messages):
            content, path = message.get("content"), (*at, i, "content")
            if isinstance(content, list):
                yield from (((*path, j), part) for j, part in enumerate(content))
            elif not isinstance(content, str | None):
                param = written(path)
                raise InvalidRequest("`content` must be a string or an array of parts.", param=param)


def _parts_of_contents(document: Document, endpoint: Endpoint) -> Iterator[tuple[Path, Any]]:
    for name in endpoint.contents:
        value = document.value.get(name)
        listed = enumerate(value) if isinstance(value, list) else ((None, value),)
        for i, each in listed:
            if not isinstance(each, dict):
                continue
            path: Path = (name, "content") if i is None else (name, i, "content")
            if not isinstance(content := each.get("content"), list):
                raise MissingField(f"`{written(path)}` is required, an array of parts.", param=written(path))
            yield from (((*path, j), part) for j, part in enumerate(content))


def _media_part(document: Document, at: Path, part: Any) -> MediaPart | FilePart | None:
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
    with naming(at), counted(MEDIA.get(kind, FILES.get(kind))):
        found = read_part(document, at, kind, part)
        most_tokens, subtitles = part.get(MOST_TOKENS), part.get(SUBTITLES)
        if most_tokens is None and subtitles is None:
            return found
        return replace(found, most_tokens=most_tokens, subtitles=subtitles)
