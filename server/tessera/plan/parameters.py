"""Parameters of a model, read from its configuration: each one is there and of its kind, or the family is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class UnknownFamily(ValueError):
    """The tokens of a model cannot be counted from its configuration; the message names what is missing."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """One JSON object of a model's files.

    Args:
        source: what error messages call it.
    """

    source: str
    values: Mapping[str, Any]

    def whole(self, name: str) -> int:
        """An integer above 0. ``name`` may lead through objects: ``vision_config.patch_size``."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(name, "an integer above 0")
        return value

    def number(self, name: str) -> float:
        """A number above 0."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self._wrong(name, "a number above 0")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false; null counts as false, as in the processors."""
        value = self._get(name, null=False)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def text(self, name: str) -> str:
        """A string."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def pairs(self, name: str) -> tuple[tuple[int, int], ...]:
        """Pairs of integers above 0, at least one."""
        value = self._get(name)
        try:
            found = tuple((first, second) for first, second in value)
        except (TypeError, ValueError):
            found = ()
        if not found or not all(type(side) is int and side > 0 for pair in found for side in pair):
            raise self._wrong(name, "pairs of integers above 0")
        return found

    def pair(self, name: str) -> tuple[int, int]:
        """Two integers above 0."""
        value = self._get(name)
        return self.__class__(self.source, {name: [value]}).pairs(name)[0]

    def has(self, name: str) -> bool:
        """Whether it is there, and not null."""
        try:
            self._get(name)
        except UnknownFamily:
            return False
        return True

    def expect(self, name: str, wanted: Any) -> None:
        """Raise where the processor does what nobody here can follow."""
        value = self._get(name)
        if value != wanted:
            raise self._wrong(name, repr(wanted))

    def _get(self, name: str, *, null: Any = None) -> Any:
        value: Any = self.values
        for key in name.split("."):
            if not isinstance(value, Mapping) or key not in value:
                raise UnknownFamily(f"{self.source} has no `{name}`")
            value = value[key]
        if value is None:
            value = null
        if value is None:
            raise UnknownFamily(f"{self.source} has no `{name}`")
        return value

    def _wrong(self, name: str, right: str) -> UnknownFamily:
        return UnknownFamily(f"`{name}` of {self.source} is not {right}: {str(self._get(name, null='null'))[:80]}")


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a model's files say about how it takes media, as transformers reads them (``to_dict``).

    Args:
        model: ``config.json``.
        image, video, audio: the processors of ``preprocessor_config.json``, ``video_preprocessor_config.json`` and
            ``processor_config.json``; empty where the model has none.
        processor: ``processor_config.json``: of all modalities together.
        tokenizer: ``tokenizer_config.json``, of which transformers' processors take over what they know by name.
        options: what the operator tells the processor (``--mm-processor-kwargs``).
    """

    model: Parameters
    image: Parameters = field(default_factory=lambda: Parameters("the image processor", {}))
    video: Parameters = field(default_factory=lambda: Parameters("the video processor", {}))
    audio: Parameters = field(default_factory=lambda: Parameters("the audio feature extractor", {}))
    processor: Parameters = field(default_factory=lambda: Parameters("the processor", {}))
    tokenizer: Parameters = field(default_factory=lambda: Parameters("the tokenizer", {}))
    options: Parameters = field(default_factory=lambda: Parameters("--mm-processor-kwargs", {}))

    @classmethod
    def of(
        cls,
        model: Mapping[str, Any],
        *,
        image: Mapping[str, Any] | None = None,
        video: Mapping[str, Any] | None = None,
        audio: Mapping[str, Any] | None = None,
        processor: Mapping[str, Any] | None = None,
        tokenizer: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Configuration:
        """From JSON objects."""
        return cls(
            Parameters("config.json", model),
            Parameters("the image processor", image or {}),
            Parameters("the video processor", video or {}),
            Parameters("the audio feature extractor", audio or {}),
            Parameters("the processor", processor or {}),
            Parameters("the tokenizer", tokenizer or {}),
            Parameters("--mm-processor-kwargs", options or {}),
        )
