"""Inputs of ``/v2/embed``, which is Cohere's: texts, images, or mixtures of both, and the images in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tessera.errors import MissingField, UnsupportedPart
from tessera.gateway.body import Document, Path, written
from tessera.gateway.media_part import FilePart, MediaPart, counted, naming, read_part
from tessera.gateway.part import check_text, kind_of
from tessera.gateway.visual_budget import MOST_TOKENS
from tessera.media import MediaItem, MediaSource, Modality

# vLLM makes prompts of no other parts here.
PARTS = ("text", "image_url")


def read_inputs(document: Document) -> list[MediaPart | FilePart]:
    """Check the inputs and find their images.

    Raises:
        InvalidRequest, MissingField, UnsupportedPart, InvalidMedia: naming the input or its part.
    """
    return [*_images(document), *_mixtures(document)]


def as_url(part: MediaPart, item: MediaItem) -> str:
    """What goes on in place of an image that is an input by itself."""
    return item.url


def _images(document: Document) -> Iterator[MediaPart]:
    for i, url in enumerate(document.value.get("images") or ()):
        at: Path = ("images", i)
        with naming(at), counted(Modality.IMAGE):
            yield MediaPart(at, Modality.IMAGE, MediaSource.from_url(document.string(url)), refer=as_url)


def _mixtures(document: Document) -> Iterator[MediaPart | FilePart]:
    for i, given in enumerate(document.value.get("inputs") or ()):
        path: Path = ("inputs", i, "content")
        if not isinstance(content := given.get("content"), list) or not content:
            raise MissingField(f"`{written(path)}` is required, an array of parts.", param=written(path))
        for j, part in enumerate(content):
            if (found := _read(document, (*path, j), part)) is not None:
                yield found


def _read(document: Document, at: Path, part: Any) -> MediaPart | FilePart | None:
    if not isinstance(part, dict):
        raise MissingField("A content part must be an object with a `type`.", param=written(at))
    kind = kind_of(at, part)
    if kind not in PARTS:
        known = ", ".join(PARTS)
        raise UnsupportedPart(f"Parts of type `{kind}` are not supported here. Supported: {known}.", param=written(at))
    if kind == "text":
        check_text(at, kind, part)
        if part.get("type") is None:
            document.set((*at, "type"), kind)
        return None
    with naming(at), counted(Modality.IMAGE):
        return replace(read_part(document, at, kind, part), most_tokens=part.get(MOST_TOKENS))
