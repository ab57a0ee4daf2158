"""What a request may say about its media: ``media_io_kwargs`` and ``mm_processor_kwargs``, as vLLM names them.

By itself vLLM refuses both, since they decide how much work a request is. Here each option is known and bounded. What
the gateway carries out goes no further; what the model's processor needs goes on to a worker that trusts gateways.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tessera.errors import InvalidRequest
from tessera.gateway.body import Document, Endpoint, Path, written
from tessera.media import MOST_FRAMES, MediaSpec, Modality
from tessera.queue import ModelCard

MOST_FPS = 120
_IO, _PROCESSOR = "media_io_kwargs", "mm_processor_kwargs"
_FPS, _FRAMES = "fps", "num_frames"
_SMALLEST, _LARGEST = "min_pixels", "max_pixels"
_SOUND = "use_audio_in_video"
# Rules that take frames at a rate know no number of them.
_BY_NUMBER = (None, "opencv")
# Options of processors that have no say in the size of images.
_SIZE_IS_KEPT = {_SOUND, _FPS, _FRAMES}


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How the media of one request is prepared.

    Attributes:
        spec: what the model takes, with the request's own sampling of videos and size of images.
        sound_of_videos: each video's sound goes with it.
        min_pixels: the request's own bound of the size of images, where it has one.
        max_pixels: the same.
        known: nothing else is asked of the model's processor, so that its work can be planned.
        passed: what goes on of ``mm_processor_kwargs``.
        told: what the gateway adds to that (see ``visual_budget``).
    """

    spec: MediaSpec
    sound_of_videos: bool
    min_pixels: int | None = None
    max_pixels: int | None = None
    known: bool = True
    passed: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


def read_media_options(
    document: Document, endpoint: Endpoint, card: ModelCard, modalities: Collection[Modality]
) -> MediaOptions:
    """Read the options, and leave those in what goes on that the engine needs.

    Args:
        modalities: of the request's media; without any, nothing of this matters to an engine.

    Raises:
        InvalidRequest: an option that is unknown, out of its bounds, or contradicts another one; naming it, or both.
    """
    spec = MediaSpec.from_json(card.media)
    if _IO not in document.value and _PROCESSOR not in document.value:
        return MediaOptions(spec, sound_of_videos=False)
    body = _Given(document.value, ())
    if not endpoint.processed and document.value.get(_PROCESSOR) is not None:
        raise InvalidRequest(f"vLLM's {endpoint.path} tells the model's processor nothing.", param=_PROCESSOR)
    io, processor = body.object(_IO), body.object(_PROCESSOR)
    video = io.object("video")
    sound = processor.flag(_SOUND) and Modality.VIDEO in modalities
    if card.any_media_options:
        # A rule that the request changes is not known any more.
        resize = None if processor.values.keys() - _SIZE_IS_KEPT else spec.image_resize
        known = not processor.values.keys() - {_SOUND}
        changed = replace(spec, **_sampling(spec, video), image_resize=resize)
        return MediaOptions(changed, sound, known=known, passed=processor.values)
    io.refuse_others("video")
    video.refuse_others(_FPS, _FRAMES)
    processor.refuse_others(_SOUND, _FPS, _FRAMES, *((_SMALLEST, _LARGEST) if spec.image_resize else ()))
    sampling, sizes = _sampling(spec, video, processor), _sizes(spec, processor)
    needed = dict(sizes) if modalities else {}
    if Modality.VIDEO in modalities:
        # The rate, since Qwen2.5-Omni's processor knows the times of the frames from nothing else.
        given = {_FPS: sampling.get("video_fps"), _SOUND: sound}
        needed |= {name: value for name, value in given.items() if value}
    _pass_on(document, needed)
    resize = replace(spec.image_resize, **sizes) if spec.image_resize else None
    return MediaOptions(replace(spec, **sampling, image_resize=resize), sound, **sizes, passed=needed)


def tell(document: Document, options: MediaOptions, told: Mapping[str, Any]) -> MediaOptions:
    """Have the model's processor told more, in what goes on."""
    if not told:
        return options
    document.set((_PROCESSOR,), {**options.passed, **told})
    return replace(options, told=told)


@dataclass(frozen=True, slots=True)
class _Given:
    """An object with options, and where it stands."""

    values: Mapping[str, Any]
    at: Path

    def object(self, name: str) -> _Given:
        """One of its members; empty where there is none."""
        value = self.values.get(name)
        if not isinstance(value, dict | None):
            raise self._wrong(name, "an object")
        return _Given(value or {}, (*self.at, name))

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool | None):
            raise self._wrong(name, "true or false")
        return bool(value)

    def number(self, name: str, most: int, kind: type[int | float] = int) -> Any:
        """A number above 0; None: not given."""
        value = self.values.get(name)
        if value is None:
            return None
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not (whole or isinstance(value, kind)) or not 0 < value <= most:
            raise self._wrong(name, f"{'an integer' if kind is int else 'a number'} above 0 and at most {most:,}")
        return kind(value)

    def refuse_others(self, *known: str) -> None:
        for name, value in self.values.items():
            if name not in known and value is not None:
                param = self.path(name)
                raise InvalidRequest(
                    f"`{param}` cannot be set by a request to this model. Known: {', '.join(known)}.", param=param
                )

    def path(self, name: str) -> str:
        """As error messages name a member."""
        return written((*self.at, name))

    def _wrong(self, name: str, right: str) -> InvalidRequest:
        return InvalidRequest(f"`{self.path(name)}` must be {right}.", param=self.path(name))


def _sampling(spec: MediaSpec, *given: _Given) -> dict[str, Any]:
    """What the request changes of the sampling of videos, which may stand in each of the objects."""
    rate = _agreed([(each, each.number(_FPS, MOST_FPS, float)) for each in given], _FPS)
    frames = _agreed([(each, each.number(_FRAMES, MOST_FRAMES)) for each in given], _FRAMES)
    if rate and frames and spec.video_sampling not in _BY_NUMBER:
        raise _contradiction(rate[0].path(_FPS), frames[0].path(_FRAMES), "the model takes frames at a rate")
    changed = {"video_fps": rate, "video_max_frames": frames}
    return {name: found[1] for name, found in changed.items() if found}


def _agreed(found: list[tuple[_Given, Any]], name: str) -> tuple[_Given, Any] | None:
    """What is given, where all of them that give it say the same."""
    found = [(holder, value) for holder, value in found if value is not None]
    for holder, value in found:
        if value != found[0][1]:
            raise _contradiction(found[0][0].path(name), holder.path(name), "they say different things")
    return found[0] if found else None


def _sizes(spec: MediaSpec, processor: _Given) -> dict[str, Any]:
    """The bounds of images that are given: within the model's own, or a few bytes could ask for any amount of work."""
    if spec.image_resize is None:
        return {}
    smallest = processor.number(_SMALLEST, spec.image_resize.min_pixels)
    largest = processor.number(_LARGEST, spec.image_resize.max_pixels)
    if smallest and largest and smallest > largest:
        why = "the smallest is above the largest"
        raise _contradiction(processor.path(_SMALLEST), processor.path(_LARGEST), why)
    return {name: value for name, value in ((_SMALLEST, smallest), (_LARGEST, largest)) if value}


def _contradiction(one: str, other: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{one}` and `{other}` contradict each other: {why}. Send one of them.", param=one)


def _pass_on(document: Document, needed: dict[str, Any]) -> None:
    if _IO in document.value:
        document.remove((_IO,))
    if needed:
        document.set((_PROCESSOR,), needed)
    elif _PROCESSOR in document.value:
        document.remove((_PROCESSOR,))
