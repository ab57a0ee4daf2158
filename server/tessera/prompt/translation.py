"""The chat that another API's request is to vLLM, message by message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tessera.prompt.conversation import Media
from tessera.prompt.files import Uncountable

# Where a value stands in a request.
Path = tuple[str | int, ...]
# Modality of each part that is no text, by where it stands.
MediaAt = Mapping[Path, str]


@dataclass(frozen=True, slots=True)
class Medium:
    """Stands for a part that is no text."""

    modality: str


@dataclass(frozen=True, slots=True)
class Translated:
    """A chat.

    Attributes:
        body: of the request, as ``/v1/chat/completions`` has it, with whole strings.
        media: parts of its messages that are no text.
        calls_as_made: see ``build_conversation``.
    """

    body: Mapping[str, Any]
    media: Media
    calls_as_made: bool = False


@dataclass(slots=True)
class Messages:
    """A chat's messages, as they are put together."""

    made: list[dict[str, Any]] = field(default_factory=list)
    media: dict[tuple[int, int], str] = field(default_factory=dict)

    def add(self, role: str, content: str | Sequence[Any] | None = None, **others: Any) -> None:
        """One more.

        Args:
            content: parts, of which each ``Medium`` is no text; None: it has none.
            others: other fields.
        """
        number = len(self.made)
        if content is not None and not isinstance(content, str):
            self.media |= {(number, j): part.modality for j, part in enumerate(content) if isinstance(part, Medium)}
            content = [None if isinstance(part, Medium) else part for part in content]
        message = {"role": role} if content is None else {"role": role, "content": content}
        self.made.append(message | others)


def text_of(value: Any, what: str) -> str:
    """A value that has to be a string; raises ``Uncountable``."""
    if not isinstance(value, str):
        raise Uncountable(f"{what} must be a string")
    return value


def objects_of(value: Any, what: str) -> list[dict[str, Any]]:
    """A value that has to be an array of objects; raises ``Uncountable``."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Uncountable(f"{what} must be an array of objects")
    return value
