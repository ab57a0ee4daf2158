"""Videos that are more than one part to their model: frame by frame to one that takes images alone, and with subtitles.

To a model that takes images and no videos (RED-VILLM, https://arxiv.org/abs/2404.11865), a video is frames at equal
distances, each with its time in front. Subtitles are told of the frames that the model gets and of no others, as in
Video-MME (https://arxiv.org/abs/2405.21075).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document, Endpoint
from tessera.gateway.content import check_media
from tessera.gateway.expansion import NOTHING, Piece, medium_piece, share_of, spread, text_piece
from tessera.gateway.media_options import MediaOptions
from tessera.gateway.media_part import SUBTITLES, DocumentPart, MediaPart, naming
from tessera.gateway.planning import times_s
from tessera.media import MediaStage, Modality, NoSubtitles, Subtitles
from tessera.queue import ModelCard


def as_images(card: ModelCard, endpoint: Endpoint) -> bool:
    """Whether a video to this model is images."""
    takes = card.limits.get
    return bool(takes(Modality.IMAGE)) and not takes(Modality.VIDEO) and not endpoint.several_prompts


def modalities_of(parts: Sequence[MediaPart | DocumentPart], card: ModelCard, endpoint: Endpoint) -> set[Modality]:
    """What the media of a request is to its model."""
    found = {p.modality if isinstance(p, MediaPart) else Modality.IMAGE for p in parts}
    if Modality.VIDEO in found and as_images(card, endpoint):
        return (found | {Modality.IMAGE}) - {Modality.VIDEO}
    return found


async def expand_videos(
    document: Document,
    endpoint: Endpoint,
    parts: list[MediaPart],
    card: ModelCard,
    options: MediaOptions,
    stage: MediaStage,
    holder: str,
    most_values: int,
) -> tuple[Document, list[MediaPart]]:
    """The request with each such video as several parts.

    Args:
        most_values: see ``Document.read``.

    Returns:
        What it is then, and all of its media; what was prepared for this is not prepared again.

    Raises:
        InvalidRequest: ``subtitles`` are none, or of something else than a video; naming the part.
        UnsupportedModality, TooManyParts: as ``check_media``.
        TesseraError: as ``MediaStage.prepare``.
    """
    for p in parts:
        _check(p)
    in_frames = as_images(card, endpoint)
    videos = [p for p in parts if p.modality is Modality.VIDEO and (in_frames or p.subtitles is not None)]
    if not videos:
        return document, parts
    # Before anything is decoded: each is one part at least.
    least = [replace(p, modality=Modality.IMAGE) if in_frames and p in videos else p for p in parts]
    check_media(least, card, endpoint, sound_of_videos=options.sound_of_videos)
    expansion = _Expansion(document, options, stage, holder)
    images = sum(p.modality is Modality.IMAGE for p in parts)
    each = (card.limits.get(Modality.IMAGE, 0) - images) // len(videos)
    pieces = {p.at: [piece async for piece in expansion.pieces(p, each if in_frames else None)] for p in videos}
    return await spread(document, endpoint, parts, pieces, most_values)


@dataclass(frozen=True, slots=True)
class _Expansion:
    document: Document
    options: MediaOptions
    stage: MediaStage
    holder: str

    async def pieces(self, p: MediaPart, frames: int | None) -> AsyncIterator[Piece]:
        """What a video becomes. ``frames``: as so many images at most; None: it stays a video."""
        with naming(p):
            said = self._subtitles(p)
            spec, sound = self.options.spec, self.options.sound_of_videos
            if frames is not None:
                most = min(frames, spec.video_max_frames)
                spec, sound = replace(spec, video_max_frames=most, video_fps=None, video_sampling=None), False
            video = await self.stage.prepare(p.modality, p.source, spec, holder=self.holder, with_audio=sound)
            if frames is None:
                yield medium_piece(p, video)
                yield text_piece(p.refer, "Subtitles of the video:" + "".join(_told(said, times_s(video))))
                return
            images = await self.stage.frames(video, self.holder)
        share = share_of(p.most_tokens, len(images))
        one = replace(p, modality=Modality.IMAGE, source=NOTHING, most_tokens=share)
        for number, (time, image) in enumerate(zip(times_s(video), images, strict=True), 1):
            text = said.at(time) if said is not None else ""
            yield text_piece(p.refer, f"Frame {number} at {time:.1f} s:{f' (subtitles: {text})' if text else ''}")
            yield medium_piece(one, image)

    def _subtitles(self, p: MediaPart) -> Subtitles | None:
        if p.subtitles is None:
            return None
        try:
            return Subtitles.read(self.document.string(p.subtitles))
        except NoSubtitles as error:
            raise InvalidRequest(f"`{SUBTITLES}` of a video cannot be read: {error}.") from error


def _told(said: Subtitles | None, times: Sequence[float]) -> Iterator[str]:
    """A line for each subtitle that is shown in one of these moments, with the first of them."""
    shown = [said.at(time) if said is not None else "" for time in times]
    for (_, before), (time, text) in pairwise([(0.0, ""), *zip(times, shown, strict=True)]):
        if text and text != before:
            yield f"\n[{time:.1f} s] {text}"


def _check(p: MediaPart) -> None:
    if p.subtitles is None:
        return
    if p.modality is not Modality.VIDEO:
        raise InvalidRequest(f"`{SUBTITLES}` are for videos; {p.modality} parts cannot have them.", param=p.path)
    if not isinstance(p.subtitles, str):
        raise InvalidRequest(f"`{SUBTITLES}` of a video must be a string: a SubRip or WebVTT file.", param=p.path)
