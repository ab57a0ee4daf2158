"""What a client was told, in a form in which two answers to the same request are equal."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# A name, a point, a number: see docs/simulation.md.
_TOKEN = re.compile(rb" ([0-9a-f]{6}\.\d+)")
_WORD = re.compile(rb"\S+")


@dataclass(slots=True)
class Said:
    """An answer, or as much of it as came.

    Attributes:
        choices: of each choice, what its events say, in order; or of each part of it that is compared by itself.
        usage: tokens of prompt and answer; None: the answer is not complete.
        identities: ids and times of the answer; a stream has one.
        error: the code of the error that came, or that a stream ended with.
    """

    choices: defaultdict[Any, list[Any]] = field(default_factory=lambda: defaultdict(list))
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
            for part, told in self._parts(choice):
                self.choices[part].extend(told)
        if usage := content.get("usage"):
            self.usage = usage["prompt_tokens"], usage["completion_tokens"]

    def agrees_with(self, right: Said) -> bool:
        """Whether it is the right answer, or, where it is not complete, the beginning of it."""
        if len(self.identities) > 1:
            return False
        if self.complete:
            return self.choices == right.choices and self.usage == right.usage
        return all(told == right.choices[part][: len(told)] for part, told in self.choices.items())

    def missing(self, right: Said) -> int:
        """Tokens of the right answer that a complete one does not have."""
        return (right.tokens() - self.tokens()).total() if self.complete else 0

    def duplicated(self, right: Said) -> int:
        """Tokens that came more often than in the right answer, or that are of another one."""
        return (self.tokens() - right.tokens()).total()

    def tokens(self) -> Counter[bytes]:
        """How often each token came."""
        return Counter(token for told in self.choices.values() for token in _tokens(told))

    def _parts(self, choice: dict[str, Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
        told = choice.get("delta") or choice.get("message") or {}
        for call in told.get("tool_calls") or []:
            call.pop("id", None)
        yield choice["index"], [orjson.dumps(choice, option=orjson.OPT_SORT_KEYS)]


class Spoken(Said):
    """What a client was told by a model, which gives the tokens of several steps in one event where it is behind.

    How tokens are spread over events is not compared, and log-probabilities, which depend on what is computed beside
    them, only by their tokens. Counted is by words: what is missing or came twice is not told from another answer.
    """

    __slots__ = ()

    def tokens(self) -> Counter[bytes]:
        """How often each word came, for each choice."""
        texts = {part: "".join(told).encode() for part, told in self.choices.items() if part[1] in _TEXTS}
        return Counter(b"%d %b" % (part[0], word) for part, text in texts.items() for word in _WORD.findall(text))

    def _parts(self, choice: dict[str, Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
        told, index = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}, choice["index"]
        calls = told.get("tool_calls") or []
        yield (index, "text"), told.get("content") or ""
        yield (index, "arguments"), "".join(call["function"].get("arguments") or "" for call in calls)
        yield (index, "functions"), [name for call in calls if (name := call["function"].get("name"))]
        found = choice.get("logprobs") or {}
        yield (index, "tokens"), found.get("tokens") or [entry["token"] for entry in found.get("content") or []]
        yield (index, "end"), [reason] if (reason := choice.get("finish_reason")) else []


# Of a choice, what is counted by words.
_TEXTS = ("text", "arguments")


def _tokens(told: Sequence[bytes]) -> list[bytes]:
    contents = [_text(orjson.loads(raw)) for raw in told]
    return _TOKEN.findall("".join(contents).encode())


def _text(choice: dict[str, Any]) -> str:
    told = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
    calls = [call["function"].get("arguments") or "" for call in told.get("tool_calls") or []]
    return "".join([told.get("content") or "", *calls])
