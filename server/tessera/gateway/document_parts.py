"""Documents: a PDF is its pages to the model, each an image, and a text itself, with the images that Markdown shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tessera.errors import InvalidRequest, MediaTypeMismatch, TooManyParts, UnsupportedModality
from tessera.gateway.body import Document, Endpoint
from tessera.gateway.content import prompt_of
from tessera.gateway.expansion import NOTHING, Piece, medium_piece, share_of, spread, text_piece
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import SUBTITLES, DocumentPart, MediaPart, counted, naming, of_image
from tessera.media import MediaItem, MediaSource, MediaStage, Modality, OpenedFile
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
        expansion = _Expansion(endpoint, card, options, stage, holder, shown, stage.documents.most_text_bytes)
        with naming(p):
            pieces[p.at] = await expansion.pieces(p)
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
    most_text_bytes: int

    async def pieces(self, p: DocumentPart) -> list[Piece]:
        """What it becomes."""
        async with AsyncExitStack() as held:
            with counted(None):
                opened = await held.enter_async_context(self.stage.documents.open(p.source))
                if not opened.paged:
                    text = opened.text(self.most_text_bytes)
                    return [_another(p, opened)] if text is None else await self._of_text(p, text)
            with counted(Modality.IMAGE):
                return await self._of_pages(p, opened)

    async def _of_pages(self, p: DocumentPart, opened: OpenedFile) -> list[Piece]:
        if p.subtitles is not None:
            raise InvalidRequest(f"`{SUBTITLES}` are for videos; documents cannot have them.")
        spec, documents = self.options.spec, self.stage.documents
        items = await documents.pages(opened, spec, self.holder, lambda pages: self._check(p, pages))
        about = [text_piece(p.refer, "\n\n".join(p.about))] if p.about else []
        share = share_of(p.most_tokens, len(items))
        page = MediaPart(p.at, Modality.IMAGE, NOTHING, p.detail, share, p.refer)
        return [*about, *(medium_piece(page, item) for item in items)]

    async def _of_text(self, p: DocumentPart, text: str) -> list[Piece]:
        """In one piece unless images stand in it."""
        links = await self.stage.documents.links(text) if p.markdown and "![" in text else []
        share = share_of(p.most_tokens, len(links) or 1)
        # Of a reference, the data stands elsewhere: the model is not told it as a text.
        apart = sorted({link.data for link in links if not link.url and not link.start <= link.data[0] < link.end})
        made: list[Piece] = []
        before, at = "\n\n".join([*p.about, ""]), 0
        for nth, link in enumerate(links, 1):
            said = before + _without(apart, text, at, link.start)
            if said.strip():
                made.append(text_piece(p.refer, said))
            before, at = "", link.end
            with of_image(nth):
                source = MediaSource.from_url(link.url or text[slice(*link.data)])
            part = MediaPart(p.at, Modality.IMAGE, source, p.detail, share, p.refer, nth=nth)
            made.append(_to_come(part))
        if (rest := before + _without(apart, text, at, len(text))).strip() or not made:
            made.append(text_piece(p.refer, rest))
        return made

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
        raise MediaTypeMismatch(
            "The file is no PDF, no text in UTF-8, and in no image, video or audio format that this server reads."
        )
    if p.only:
        raise MediaTypeMismatch(f"The document is {kind.mime}, which is none: send it as a block of its own kind.")
    part = MediaPart(p.at, kind.modality, p.source, p.detail, p.most_tokens, p.refer, p.subtitles)
    return _to_come(part)


def _without(apart: Sequence[tuple[int, int]], text: str, start: int, end: int) -> str:
    """Some of a text, without what stands apart."""
    pieces, at = [], start
    for first, last in apart:
        if start <= first < end:
            pieces.append(text[at:first])
            at = last
    return "".join([*pieces, text[at:end]])


def _to_come(part: MediaPart) -> Piece:
    """A part that is prepared with all others, and then stands there as what it became."""
    return Piece(part.refer(part, MediaItem(part.modality, "", (), 0, {})), part)
