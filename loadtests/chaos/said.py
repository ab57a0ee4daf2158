"""What a client was told, in a form in which two answers to the same request are equal."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# A name, a point, a number: see docs/simulation.md.
_TOKEN = re.compile(rb" ([0-9a-f]{6}\.\d+)")


@dataclass(slots=True)
class Said:
    """An answer, or as much of it as came.

    Attributes:
        choices: of each choice, what its events say, in order.
        usage: tokens of prompt and answer; None: the answer is not complete.
        identities: ids and times of the answer; a stream has one.
        error: the code of the error that came, or that a stream ended with.
    """

    choices: defaultdict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    usage: tuple[int, int] | None = None
    identities: set[tuple[str, int]] = field(default_factory=set)
    error: str = ""

    @property
    def complete(self) -> bool:
        """All of it came."""
        return self.usage is not None

    def take(self, content: dict[str, Any]) -> None:
        """Take an event of a stream, or an answer in one piece."""
        if "error" in content:
            self.error = content["error"]["code"] or "unnamed"
            return
        self.identities.add((content["id"], content["created"]))
        for choice in content["choices"]:
            told = choice.get("delta") or choice.get("message") or {}
            for call in told.get("tool_calls") or []:
                call.pop("id", None)
            self.choices[choice["index"]].append(orjson.dumps(choice, option=orjson.OPT_SORT_KEYS))
        if usage := content.get("usage"):
            self.usage = usage["prompt_tokens"], usage["completion_tokens"]

    def agrees_with(self, right: Said) -> bool:
        """Whether it is the right answer, or, where it is not complete, the beginning of it."""
        if len(self.identities) > 1:
            return False
        if self.complete:
            return self.choices == right.choices and self.usage == right.usage
        return all(told == right.choices[index][: len(told)] for index, told in self.choices.items())

    def missing(self, right: Said) -> int:
        """Tokens of the right answer that a complete one does not have."""
        return (right.tokens() - self.tokens()).total() if self.complete else 0

    def duplicated(self, right: Said) -> int:
        """Tokens that came more often than in the right answer, or that are of another one."""
        return (self.tokens() - right.tokens()).total()

    def tokens(self) -> Counter[bytes]:
        """How often each token came."""
        return Counter(token for told in self.choices.values() for token in _tokens(told))


def _tokens(told: Sequence[bytes]) -> list[bytes]:
    contents = [_text(orjson.loads(raw)) for raw in told]
    return _TOKEN.findall("".join(contents).encode())


def _text(choice: dict[str, Any]) -> str:
    told = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
    calls = [call["function"].get("arguments") or "" for call in told.get("tool_calls") or []]
    return "".join([told.get("content") or "", *calls])
