"""Messages of ``/v1/messages``: Anthropic's blocks, checked as far as the server must, and the media in them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from tessera.errors import InvalidRequest, MissingField, UnsupportedPart
from tessera.gateway.body import Document, Path, written
from tessera.gateway.kind import shown
from tessera.gateway.media_part import FilePart, MediaPart, is_markdown, naming
from tessera.gateway.visual_budget import MOST_TOKENS
from tessera.media import MediaItem, MediaSource, Modality
from tessera.prompt import MediaAt, PromptCounter, Translated, chat_of_messages

ROLES = ("user", "assistant", "system")
# Passed through.
_OTHERS = ("text", "tool_use", "thinking", "redacted_thinking", "tool_reference", "tool_addition", "tool_removal")
BLOCKS = ("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking")
_TEXT_TYPE, _MARKDOWN = "text/", "text/markdown"


def read_messages(document: Document) -> list[MediaPart | FilePart]:
    """Check the messages, find their images, and put the text of documents in their place.

    Raises:
        InvalidRequest, MissingField, UnsupportedPart, InvalidMedia: naming the block.
    """
    return [found for at, block in _blocks(document) if (found := _read(document, at, block)) is not None]


def as_chat(document: Document, media: MediaAt, counter: PromptCounter | None) -> Translated:
    """The chat that the request is to vLLM (see ``Endpoint.translate``)."""
    return chat_of_messages(
        document.value,
        media,
        document.string,
        document=partial(_text_of, document),
        system_first=counter is not None and counter.system_first,
        disabled_effort=counter.disabled_effort if counter is not None else "none",
    )


def as_block(part: MediaPart, item: MediaItem) -> dict[str, Any]:
    """What goes on in place of a block with an image: a reference to what it became."""
    return {"type": "image", "source": {"type": "url", "url": item.url}}


def _blocks(document: Document) -> Iterator[tuple[Path, Any]]:
    messages = document.value.get("messages")
    if not isinstance(messages, list):
        raise InvalidRequest("`messages` must be an array.", param="messages")
    for i, message in enumerate(messages):
        path = f"messages[{i}]"
        if not isinstance(message, dict):
            raise InvalidRequest(f"`{path}` must be an object.", param=path)
        if message.get("role") not in ROLES:
            raise InvalidRequest(f"`{path}.role` must be one of {', '.join(ROLES)}.", param=f"{path}.role")
        yield from _content(message, ("messages", i, "content"))


def _content(holder: dict[str, Any], at: Path) -> Iterator[tuple[Path, Any]]:
    content, param = holder.get("content"), written(at)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InvalidRequest(f"`{param}` must be a string or an array of blocks.", param=param)
    for j, block in enumerate(content):
        path = (*at, j)
        if not isinstance(block, dict):
            raise InvalidRequest(f"`{written(path)}` must be an object.", param=written(path))
        if block.get("type") == "tool_result" and block.get("content") is not None:
            yield from _content(block, (*path, "content"))
        yield path, block


def _read(document: Document, at: Path, block: dict[str, Any]) -> MediaPart | FilePart | None:
    kind = block.get("type")
    if kind == "image":
        with naming(at):
            image = _image(document, at, _source(block))
            return replace(image, detail=block.get("detail"), most_tokens=block.get(MOST_TOKENS))
    if kind == "document":
        with naming(at):
            return _document(document, at, block)
    if kind == "tool_result" or kind in _OTHERS:
        return None
    known = ", ".join(BLOCKS)
    raise UnsupportedPart(f"Blocks of type {shown(kind)} are not supported. Supported: {known}.", param=written(at))


def _image(document: Document, at: Path, source: dict[str, Any]) -> MediaPart | FilePart:
    kind, string = source.get("type"), partial(_string, document, source)
    if kind == "base64":
        return MediaPart(at, Modality.IMAGE, MediaSource.from_file_data(string("data")), refer=as_block)
    if kind == "url":
        return MediaPart(at, Modality.IMAGE, MediaSource.from_url(string("url")), refer=as_block)
    if kind == "file":
        return FilePart(at, Modality.IMAGE, string("file_id"), refer=as_block)
    raise UnsupportedPart("`source.type` of an image must be `base64`, `url` or `file`.")


def _document(document: Document, at: Path, block: dict[str, Any]) -> FilePart | None:
    source = _source(block)
    kind, string = source.get("type"), partial(_string, document, source)
    title, url = block.get("title"), source.get("url")
    called = is_markdown(title if isinstance(title, str) else "", url if isinstance(url, str) else "")
    markdown = called or source.get("media_type") == _MARKDOWN
    if kind == "url":
        file: str | MediaSource = MediaSource.from_url(string("url"))
    elif kind == "file":
        file = string("file_id")
    elif kind == "base64" and (markdown or not str(source.get("media_type", "")).startswith(_TEXT_TYPE)):
        file = MediaSource.from_file_data(string("data"))
    elif kind == "text" and markdown:
        file = MediaSource.from_text(string("data"))
    else:
        document.set(at, {"type": "text", "text": _text_of(document, block)})
        return None
    about, wishes = _about(document, block), (block.get("detail"), block.get(MOST_TOKENS))
    return FilePart(at, None, file, *wishes, refer=as_block, about=about, document=True, markdown=markdown)


def _about(document: Document, block: dict[str, Any]) -> tuple[str, ...]:
    given = (block.get(name) for name in ("title", "context"))
    return tuple(document.string(value) for value in given if isinstance(value, str))


def _text_of(document: Document, block: dict[str, Any]) -> str:
    """A document as a text, under its title."""
    source = _source(block)
    kind = source.get("type")
    if kind == "text":
        text = _string(document, source, "data")
    elif kind == "content":
        text = _text_of_content(document, source.get("content"))
    elif kind == "base64" and str(source.get("media_type", "")).startswith(_TEXT_TYPE):
        try:
            text = b64decode(_string(document, source, "data"), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidRequest("The document is no text in UTF-8, in base64.") from None
    else:
        raise UnsupportedPart(
            "`source.type` of a document must be `base64`, `url` or `file`, with a PDF, or `text` or `content`, with "
            "texts."
        )
    return "\n\n".join([*_about(document, block), text])


def _text_of_content(document: Document, content: Any) -> str:
    if isinstance(content, str):
        return document.string(content)
    texts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    if not isinstance(content, list) or len(texts) != len(content) or not all(isinstance(t, str) for t in texts):
        raise UnsupportedPart("`source.content` of a document must be a text, or blocks with texts.")
    return "\n\n".join(document.string(str(text)) for text in texts)


def _source(block: dict[str, Any]) -> dict[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise MissingField(f"A block of type `{block['type']}` must have a `source`, an object.")
    return source


def _string(document: Document, holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value:
        raise MissingField(f"`source.{name}` must be a string that is not empty.")
    return document.string(value)
