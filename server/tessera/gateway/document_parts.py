"""Documents: each page of a PDF is an image to the model, in order, where the part stood."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tessera.errors import InvalidRequest, MediaTypeMismatch, TooManyParts, UnsupportedModality
from tessera.gateway.body import Document, Endpoint
from tessera.gateway.content import prompt_of
from tessera.gateway.expansion import NOTHING, Piece, medium_piece, share_of, spread, text_piece
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import SUBTITLES, DocumentPart, MediaPart, counted, naming
from tessera.media import MediaItem, MediaStage, Modality, OpenedFile
from tessera.queue import ModelCard


async def expand_documents(
    document: Document,
    endpoint: Endpoint,
    parts: Sequence[MediaPart | DocumentPart],
    card: ModelCard,
    options: MediaOptions,
    stage: MediaStage,
    holder: str,
    most_values: int,
) -> tuple[Document, list[MediaPart]]:
    """The request with each document as several parts.

    Args:
        most_values: see ``Document.read``.

    Returns:
        What it is then, and all of its media; what was prepared for this is not prepared again.

    Raises:
        UnsupportedModality, TooManyParts: the model takes no images, or fewer.
        MediaTypeMismatch, InvalidRequest: it is no document, or has what documents cannot have.
        TesseraError: as ``Documents.open`` and ``Documents.pages``; all of them name the part.
    """
    if not any(isinstance(p, DocumentPart) for p in parts):
        return document, [p for p in parts if isinstance(p, MediaPart)]
    pieces: dict[tuple[str | int, ...], list[Piece]] = {}
    shown = [p for p in parts if isinstance(p, MediaPart)]
    for p in parts:
        if not isinstance(p, DocumentPart):
            continue
        expansion = _Expansion(endpoint, card, options, stage, holder, shown)
        with naming(p.path), counted(Modality.IMAGE):
            pieces[p.at] = [piece async for piece in expansion.pieces(p)]
        shown += [piece.part for piece in pieces[p.at] if piece.part is not None]
    return await spread(document, endpoint, parts, pieces, most_values)


@dataclass(frozen=True, slots=True)
class _Expansion:
    """Of one document; ``shown``: the other media of its request, as far as it is known."""

    endpoint: Endpoint
    card: ModelCard
    options: MediaOptions
    stage: MediaStage
    holder: str
    shown: Sequence[MediaPart]

    async def pieces(self, p: DocumentPart) -> AsyncIterator[Piece]:
        """What it becomes."""
        async with self.stage.documents.open(p.source) as opened:
            if not opened.paged:
                yield _another(p, opened)
                return
            if p.subtitles is not None:
                raise InvalidRequest(f"`{SUBTITLES}` are for videos; documents cannot have them.")
            items = await self.stage.documents.pages(
                opened, self.options.spec, self.holder, lambda pages: self._check(p, pages)
            )
        if p.about:
            yield text_piece(p.refer, "\n\n".join(p.about))
        share = share_of(p.most_tokens, len(items))
        page = MediaPart(p.at, Modality.IMAGE, NOTHING, p.detail, share, p.refer)
        for item in items:
            yield medium_piece(page, item)

    def _check(self, p: DocumentPart, pages: int) -> None:
        """Before any page is painted: what comes of all media together is checked once more."""
        most, prompt = self.card.limits.get(Modality.IMAGE, 0), prompt_of(p.at, self.endpoint)
        if not most:
            raise UnsupportedModality(f"Pages are images to a model, and `{self.card.model}` takes no image input.")
        others = sum(q.modality is Modality.IMAGE and prompt_of(q.at, self.endpoint) == prompt for q in self.shown)
        if pages + others > most:
            scope = "prompt" if self.endpoint.several_prompts else "request"
            raise TooManyParts(
                f"The document has {pages} page(s), each of which is an image; at most {most} image part(s) may be in "
                f"one {scope} to `{self.card.model}`{f', and {others} are in it besides' if others else ''}."
            )


def _another(p: DocumentPart, opened: OpenedFile) -> Piece:
    """What turned out to be a medium of another kind, or to be none."""
    kind = opened.kind
    if kind is None:
        raise MediaTypeMismatch("The file is no PDF, and in no image, video or audio format that this server reads.")
    if p.only:
        raise MediaTypeMismatch(f"The document is {kind.mime}, which is none: send it as a block of its own kind.")
    part = MediaPart(p.at, kind.modality, p.source, p.detail, p.most_tokens, p.refer, p.subtitles)
    # It is prepared with all others, and then stands there as what it became.
    return Piece(p.refer(part, MediaItem(kind.modality, "", (), 0, {})), part)
