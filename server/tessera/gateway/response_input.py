"""``input`` of ``/v1/responses``: its items, checked as far as the server must, and the media in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tessera.errors import InvalidRequest, MissingField, UnsupportedPart
from tessera.gateway.body import Document, Path, written
from tessera.gateway.kind import shown
from tessera.gateway.media_part import SUBTITLES, FilePart, MediaPart, naming, read_part
from tessera.gateway.part import FILES, MEDIA, TEXT, TEXTS_OF_INPUT, check_text, kind_of
from tessera.gateway.visual_budget import MOST_TOKENS
from tessera.media import MediaItem, Modality
from tessera.prompt import MediaAt, PromptCounter, Translated, chat_of_response

ROLES = ("user", "assistant", "system", "developer")
MESSAGE = "message"
# Items with what a tool gave, which may be parts as well.
OUTPUTS = ("function_call_output", "custom_tool_call_output")
ITEMS = (MESSAGE, "function_call", "custom_tool_call", *OUTPUTS, "reasoning")


def read_input(document: Document) -> list[MediaPart | FilePart]:
    """Check the items and find their media.

    Raises:
        InvalidRequest, MissingField, UnsupportedPart: naming the item or part.
    """
    return [found for at, role, part in _parts(document) if (found := _read(document, at, role, part)) is not None]


def as_chat(document: Document, media: MediaAt, _: PromptCounter | None) -> Translated:
    """The chat that the request is to vLLM (see ``Endpoint.translate``)."""
    return chat_of_response(document.value, media, document.string)


def kind_of_item(item: Any, path: str) -> str:
    """What an item is, one of ``ITEMS``.

    Raises:
        InvalidRequest: nothing that a model could be told.
    """
    if not isinstance(item, dict):
        raise InvalidRequest(f"`{path}` must be an object.", param=path)
    kind = item.get("type") or MESSAGE
    if kind not in ITEMS:
        known = ", ".join(ITEMS)
        raise InvalidRequest(
            f"Input items of type {shown(kind)} are not supported. Supported: {known}.", param=f"{path}.type"
        )
    return str(kind)


def as_part_of_input(part: MediaPart, item: MediaItem) -> dict[str, Any]:
    """What goes on in place of a part: a reference, as vLLM's worker is told of it.

    Of media vLLM knows images alone here; the others stand in a file's part, which the worker understands (see
    ``worker.bridge``).
    """
    if part.modality is Modality.IMAGE:
        return {"type": "input_image", "image_url": item.url, "detail": part.detail or "auto"}
    return {"type": "input_file", "file_url": item.url, "filename": str(part.modality), "file_id": item.digest}


def _parts(document: Document) -> Iterator[tuple[Path, str, Any]]:
    """Each part with the role of whoever said it."""
    given = document.value.get("input")
    if isinstance(given, str):
        return
    if not isinstance(given, list):
        raise InvalidRequest("`input` must be a string or an array of items.", param="input")
    for i, item in enumerate(given):
        path = f"input[{i}]"
        kind = kind_of_item(item, path)
        if kind in OUTPUTS:
            yield from _content(item, ("input", i, "output"), "user")
        elif kind == MESSAGE:
            role = item.get("role")
            if role is None:
                raise MissingField(f"`{path}.role` is required.", param=f"{path}.role")
            if role not in ROLES:
                raise InvalidRequest(f"`{path}.role` must be one of {', '.join(ROLES)}.", param=f"{path}.role")
            yield from _content(item, ("input", i, "content"), role)


def _content(item: dict[str, Any], at: Path, role: str) -> Iterator[tuple[Path, str, Any]]:
    content, param = item.get(str(at[-1])), written(at)
    if isinstance(content, list):
        yield from (((*at, j), role, part) for j, part in enumerate(content))
    elif content is None:
        raise MissingField(f"`{param}` is required.", param=param)
    elif not isinstance(content, str):
        raise InvalidRequest(f"`{param}` must be a string or an array of parts.", param=param)


def _read(document: Document, at: Path, role: str, part: Any) -> MediaPart | FilePart | None:
    if not isinstance(part, dict):
        raise InvalidRequest("A content part must be an object.", param=written(at))
    kind = kind_of(at, part)
    if kind in TEXT:
        if kind not in TEXTS_OF_INPUT:
            known = ", ".join((*TEXTS_OF_INPUT, *FILES, *MEDIA))
            raise UnsupportedPart(
                f"Parts of type `{kind}` are not supported here. Supported: {known}.", param=written(at)
            )
        check_text(at, kind, part)
        if kind == "text" or part.get("type") is None:
            document.set((*at, "type"), "output_text" if role == "assistant" else "input_text")
        return None
    with naming(at):
        found = read_part(document, at, kind, part)
        most, subtitles = part.get(MOST_TOKENS), part.get(SUBTITLES)
        return replace(found, most_tokens=most, refer=as_part_of_input, subtitles=subtitles)
