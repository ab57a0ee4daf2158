"""What all families have in common: they plan items, and travel as JSON with a model's card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self, get_type_hints

from tessera.plan.parameters import Configuration, UnknownFamily
from tessera.plan.plans import AudioPlan, ImagePlan, Size, Unplannable, VideoPlan

IMAGE, VIDEO, AUDIO = "image", "video", "audio"


@dataclass(frozen=True, slots=True)
class Family:
    """One way to count, with the parameters of one model. Its fields are these parameters.

    Attributes:
        name: the family's, as announced.
        models: ``model_type`` of the models that it counts.
        modalities: what it plans.
        joined: text at the ends of what it writes may join the text around an item, so that a prompt has a few tokens
            less than its parts.
        follows: options of the operator's for the processor that it counts with.
        times_by_rate: the processor knows the times of frames from one rate for all videos of a request (``fps``).
    """

    name: ClassVar[str]
    models: ClassVar[tuple[str, ...]]
    modalities: ClassVar[frozenset[str]]
    joined: ClassVar[bool] = False
    follows: ClassVar[frozenset[str]] = frozenset()
    times_by_rate: ClassVar[bool] = False

    @classmethod
    def read(cls, configuration: Configuration) -> Self:
        """From a model's files.

        Raises:
            UnknownFamily: a parameter is missing, or has a value that is not understood.
        """
        raise NotImplementedError

    def image(self, width: int, height: int) -> ImagePlan:
        """An image of so many pixels.

        Raises:
            Unplannable: the model takes none, or its processor refuses this one.
        """
        raise Unplannable("The model takes no images.")

    def video(self, times_s: Sequence[float], width: int, height: int, *, samples: int | None = None) -> VideoPlan:
        """A video, given the frames that are sent.

        Args:
            times_s: when each frame is shown, seconds.
            width: of each frame, pixels.
            height: of each frame, pixels.
            samples: its sound goes between its frames (``use_audio_in_video``), and has so many.

        Raises:
            Unplannable: the model takes none, or its processor refuses this one.
        """
        raise Unplannable("The model takes no videos.")

    def audio(self, samples: int) -> AudioPlan:
        """A sound of so many samples, at the rate that the model takes.

        Raises:
            Unplannable: the model takes none, or its processor refuses this one.
        """
        raise Unplannable("The model takes no audio.")

    def within(self, min_pixels: int | None, max_pixels: int | None) -> Self:
        """The family with other bounds of size, as a request may set them (``mm_processor_kwargs``).

        Raises:
            Unplannable: the model's processor knows no such bounds.
        """
        if min_pixels is None and max_pixels is None:
            return self
        raise Unplannable("The model's processor knows no bounds of pixels.")

    def sizes(self, width: int, height: int) -> Iterable[Size]:
        """Sizes to which an image may be resized so that it is fewer tokens; none where its size does not matter.

        Args:
            width: of an image that the family plans.
            height: of it.
        """
        return ()

    def fewer(self) -> Sequence[Mapping[str, Any]]:
        """What a request may tell the processor, for all of its images, so that they are fewer tokens.

        Ascending, all below what the processor does by itself; see ``told``. None where ``sizes`` serve.
        """
        return ()

    def told(self, options: Mapping[str, Any]) -> Self:
        """The family where a request tells the processor so: one of ``fewer``, or nothing."""
        return self

    def to_json(self) -> dict[str, Any]:
        """As announced."""
        return {"family": self.name, "parameters": asdict(self)}

    @classmethod
    def from_parameters(cls, values: Mapping[str, Any]) -> Self:
        """From what was announced.

        Raises:
            UnknownFamily: a parameter is missing or of another kind.
        """
        types, found = get_type_hints(cls), {}
        for parameter in fields(cls):
            if parameter.name not in values:
                raise UnknownFamily(f"the announced family {cls.name} has no `{parameter.name}`")
            value = values[parameter.name]
            if isinstance(value, list):
                value = tuple(tuple(each) if isinstance(each, list) else each for each in value)
            kind = types[parameter.name]
            expected = getattr(kind, "__origin__", kind)
            if type(value) is not expected and not (expected is float and type(value) is int):
                raise UnknownFamily(f"`{parameter.name}` of the announced family {cls.name} is no {expected.__name__}")
            found[parameter.name] = value
        return cls(**found)
