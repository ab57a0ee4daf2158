"""What the generator makes: media whose content is known, and questions whose answers follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz
CLIP_FPS = 2.0  # frames per second that a Qwen2.5-Omni model gets to see of a video


@dataclass(frozen=True)
class Region:
    """A place in a picture and what is there.

    Attributes:
        box: left, top, right and bottom edge, in pixels.
        labels: of ``vocabulary.LABELS``.
    """

    box: tuple[float, float, float, float]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A still picture: RGB of shape (height, width, 3)."""

    pixels: Pixels
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Clip:
    """A silent video: RGB of shape (frames, height, width, 3) at ``fps``, and the regions of each frame."""

    frames: Pixels
    regions: tuple[tuple[Region, ...], ...]
    fps: float

    def sampled(self) -> Clip:
        """Only the frames that the model sees."""
        step = round(self.fps / CLIP_FPS)
        return Clip(self.frames[::step], self.regions[::step], CLIP_FPS)


@dataclass(frozen=True)
class Span:
    """A part of a sound, in seconds, and what is heard there (of ``vocabulary.LABELS``)."""

    start: float
    end: float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Sound:
    """Mono at ``SAMPLE_RATE``, -1 to 1."""

    samples: Samples
    spans: tuple[Span, ...]


Medium = Picture | Clip | Sound


@dataclass(frozen=True)
class Question:
    """One question, the answer that is learnt, and how any answer is judged.

    Attributes:
        wanted: of the words in ``among``, an answer must say these, in this order, and no others.
        among: the possible words, in lower case; empty: the answer must be ``answer``.
        lesson: only to learn from: it shows more than is asked of the model.
        exact: nothing but ``answer`` will do, a full stop apart ("answer with one word").
    """

    text: str
    answer: str
    wanted: tuple[str, ...] = ()
    among: frozenset[str] = frozenset()
    exact: bool = False
    lesson: bool = False

    def accepts(self, answer: str) -> bool:
        """Whether ``answer`` is right."""
        if self.exact or not self.among:
            return answer.strip().rstrip(".").lower() == self.answer.rstrip(".").lower()
        return tuple(word for word in words(answer) if word in self.among) == self.wanted


@dataclass(frozen=True)
class Example:
    """One user message, up to its question, and several questions that could end it.

    Attributes:
        kind: what is asked for, such as "count"; of the rows of the evaluation's table.
        prompt: media and text in the order of the message.
        question_first: the question stands before the prompt instead of after it.
        system: system prompt, if any.
    """

    kind: str
    prompt: tuple[str | Medium, ...]
    questions: tuple[Question, ...]
    question_first: bool = False
    system: str = ""

    @property
    def media(self) -> tuple[Medium, ...]:
        """The media alone, in order."""
        return tuple(part for part in self.prompt if not isinstance(part, str))

    def sampled(self) -> Example:
        """With the frames of clips that the model sees, instead of all."""
        return replace(self, prompt=tuple(part.sampled() if isinstance(part, Clip) else part for part in self.prompt))

    def content(self, question: Question) -> list[str | Medium]:
        """The parts of the user's message."""
        return [question.text, *self.prompt] if self.question_first else [*self.prompt, question.text]


def words(text: str) -> list[str]:
    """The words of ``text``, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())
