"""JSON texts that no program would write, but anyone may send, and where the values in them stand."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

BLANKS = st.sampled_from(["", "", " ", "\n\t", "\r\n  "])
NUMBERS = ["0", "-0.0", "1.0", "1", "1E5", "1e-400", "123456789012345678901234567890", "0.10000000000000000000000001"]
LETTERS = ['a"b', "\\", '\\"', "é", "🜁", "{[,:]}", "", " ", "x" * 50, "/", "\n", "\\u0041", "x\\"]
NAMES = ["a", "b", 'q"', "é", "\\", "a longer name", ""]

Places = dict[tuple[str | int, ...], tuple[int, int]]


class Text:
    """A text as it grows.

    Attributes:
        places: path to start and end of each value.
    """

    def __init__(self) -> None:
        self.text = ""
        self.places: Places = {}

    def grow(self, draw: Any, path: tuple[str | int, ...], depth: int) -> None:
        self.text += draw(BLANKS)
        start = len(self.text)
        kind = draw(st.sampled_from(["array", "object", "object"] if not path else ["leaf", "array", "object"]))
        if kind == "leaf" or depth == 0:
            self.text += draw(st.one_of(st.sampled_from([*NUMBERS, "true", "null"]), strings(st.sampled_from(LETTERS))))
        elif kind == "array":
            self._fill(draw, path, range(draw(st.integers(0, 3))), depth, "[]")
        else:
            names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
            self._fill(draw, path, names, depth, "{}")
        self.places[path] = (start, len(self.text))
        self.text += draw(BLANKS)

    def _fill(self, draw: Any, path: tuple[str | int, ...], steps: Any, depth: int, brackets: str) -> None:
        self.text += brackets[0]
        for i, step in enumerate(steps):
            self.text += "," * bool(i)
            if brackets == "{}":
                self.text += draw(BLANKS) + draw(strings(st.just(step))) + draw(BLANKS) + ":"
            self.grow(draw, (*path, step), depth - 1)
        self.text += draw(BLANKS) + brackets[1]


@st.composite
def strings(draw: Any, values: st.SearchStrategy[str]) -> str:
    """A string as JSON writes it, with escapes that need not be."""
    written = json.dumps(draw(values), ensure_ascii=draw(st.booleans()))
    return written.replace("/", "\\/").replace("a", "\\u0061", draw(st.integers(0, 1)))


@st.composite
def texts(draw: Any) -> Text:
    """An object or an array."""
    text = Text()
    text.grow(draw, (), 3)
    return text


def exactly(text: str) -> Any:
    """The value of a text, with numbers as they are written: two that differ in a digit are not equal."""
    return json.loads(text, parse_int=lambda digits: ("number", digits), parse_float=lambda digits: ("number", digits))
