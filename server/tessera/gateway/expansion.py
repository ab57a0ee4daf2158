"""Parts that are several to their model, put into a request where the one stood."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tessera.gateway.body import Document, Endpoint, Path
from tessera.gateway.media_part import DocumentPart, MediaPart, Refer, is_count
from tessera.gateway.response_input import as_part_of_input
from tessera.media import MediaItem, MediaSource

NOTHING = MediaSource("", remote=False)
"""The source of a part whose item is there already."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of those that one becomes; ``part``: None: a text."""

    content: dict[str, Any]
    part: MediaPart | None = None


def medium_piece(part: MediaPart, item: MediaItem) -> Piece:
    """A part whose item is there."""
    made = replace(part, item=item, subtitles=None)
    return Piece(part.refer(made, item), made)


def text_piece(refer: Refer, text: str) -> Piece:
    """A text, as the API has it whose parts are referred to like that."""
    return Piece({"type": "input_text" if refer is as_part_of_input else "text", "text": text})


def share_of(most_tokens: Any, pieces: int) -> Any:
    """What each piece may be of what all may be; what is no number of tokens stays, and is refused later."""
    return max(1, int(most_tokens) // pieces) if is_count(most_tokens) else most_tokens


async def spread(
    document: Document,
    endpoint: Endpoint,
    parts: Sequence[MediaPart | DocumentPart],
    pieces: Mapping[Path, Sequence[Piece]],
    most_values: int,
) -> tuple[Document, list[MediaPart]]:
    """The request with some parts replaced by what they become.

    Args:
        parts: all of its media.
        pieces: by the place of a part, which has at least one.
        most_values: see ``Document.read``.

    Returns:
        What it is then, and all of its media, named as its client knows it.
    """
    for at, each in pieces.items():
        document.put(at, b",".join(orjson.dumps(piece.content) for piece in each))
    made: list[MediaPart] = []
    for p in parts:
        at = _moved(p.at, pieces)
        if p.at not in pieces:
            assert isinstance(p, MediaPart), "a document becomes something else"
            made.append(replace(p, at=at, named=p.path))
            continue
        *before, index = at
        for i, piece in enumerate(pieces[p.at]):
            if piece.part is not None:
                made.append(replace(piece.part, at=(*before, int(index) + i), named=p.path))
    raw = bytearray(await document.run(Document.encode))
    return await Document.read(raw, most_values, endpoint.reads), made


def _moved(at: Path, pieces: Mapping[Path, Collection[Piece]]) -> Path:
    """Where a part stands once those before it in its message are several."""
    *holder, index = at
    if not isinstance(index, int):
        return at
    before = [len(made) - 1 for (*other, i), made in pieces.items() if other == holder and int(i) < index]
    return (*holder, index + sum(before))
