"""Images in Markdown: where they stand in its text, and what they lead to."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline, image

from tessera.errors import MediaTooLarge

MOST_IMAGES = 128
"""In one text."""

# A name stands for what is longer, which a parser in Python would go through letter by letter.
_DATA = re.compile(r"data:[a-zA-Z0-9.+-]{1,64}/[a-zA-Z0-9.+-]{1,64}[;,][^\s()<>\"'\\]*")
_NAME = "https://data-{}.invalid/{}"
_REMOTE = ("http://", "https://")
# Of all images together: what finds them has so much room to tell.
_MOST_URL_CHARS = 32 * 1024
_IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Link:
    """An image in a text.

    Attributes:
        start: of it, with what is said in its place.
        end: behind it.
        url: where it is; empty: in the text itself.
        data: where its data URL stands then, from and to.
    """

    start: int
    end: int
    url: str = ""
    data: tuple[int, int] = (0, 0)


def links(text: str) -> list[Link]:
    """The images of a Markdown text (CommonMark), in order, by data URLs or http(s) ones.

    Images in code, or in the description of other images, are none, and what lies beside the document nobody here has.

    Args:
        text: with line feeds at the ends of its lines.

    Raises:
        MediaTooLarge: more than ``MOST_IMAGES``, or very long URLs.
    """
    shorter = _Shorter(text)
    parser = MarkdownIt("commonmark")
    parser.disable(["inline", "text_join"])
    parser.inline.ruler.at("image", _noted)
    lines = _Lines(shorter.text)
    env: dict[str, Any] = {}
    found: list[Link] = []
    for token in parser.parse(shorter.text, env):
        if token.type != "inline" or token.map is None or "![" not in token.content:
            continue
        for start, end, url in _within(parser, token.content, env):
            span = lines.span(token.content, token.map[0], start, end)
            if span is not None and (link := shorter.link(*span, url)) is not None:
                found.append(link)
        if len(found) > MOST_IMAGES:
            raise MediaTooLarge(f"The text has more than {MOST_IMAGES} images.")
        if sum(len(link.url) for link in found) > _MOST_URL_CHARS:
            raise MediaTooLarge(f"The URLs of the text's images have more than {_MOST_URL_CHARS} characters together.")
    return found


class _Shorter:
    """A text with names in the place of its data URLs."""

    def __init__(self, text: str):
        self._data = [found.span() for found in _DATA.finditer(text)]
        nonce = next(number for number in range(len(text) + 1) if f"https://data-{number}.invalid/" not in text)
        self._numbers = {_NAME.format(nonce, number): number for number in range(len(self._data))}
        pieces: list[str] = []
        # Where each name ends in the shorter text, and by how much what follows is further on in the whole one.
        self._ends, self._shifts = [0], [0]
        at, length = 0, 0
        for (start, end), name in zip(self._data, self._numbers, strict=True):
            pieces += [text[at:start], name]
            length += start - at + len(name)
            at = end
            self._ends.append(length)
            self._shifts.append(end - length)
        self.text = "".join([*pieces, text[at:]])

    def link(self, start: int, end: int, url: str) -> Link | None:
        """What stands between two places of the shorter text."""
        place = self._place(start), self._place(end)
        if (number := self._numbers.get(url)) is not None:
            return Link(*place, data=self._data[number])
        return Link(*place, url) if url.lower().startswith(_REMOTE) else None

    def _place(self, place: int) -> int:
        return place + self._shifts[bisect_right(self._ends, place) - 1]


class _Lines:
    """Where the content of blocks stands in a text: what marks quotes and lists stands in front of its lines."""

    def __init__(self, text: str):
        self._lines = text.split("\n")
        self._starts = [0, *accumulate(len(line) + 1 for line in self._lines)]

    def span(self, content: str, first: int, start: int, end: int) -> tuple[int, int] | None:
        """Of something in a content that begins in line ``first``; None: it cannot be told."""
        places = [self._place(content, first, at) for at in (start, end)]
        return None if places[0] is None or places[1] is None else (places[0], places[1])

    def _place(self, content: str, first: int, at: int) -> int | None:
        begin, number = content.rfind("\n", 0, at) + 1, first + content.count("\n", 0, at)
        stop = content.find("\n", at)
        line = content[begin : stop if stop >= 0 else len(content)].rstrip()
        if number >= len(self._lines) or (within := self._lines[number].rstrip().rfind(line)) < 0:
            return None
        return self._starts[number] + within + at - begin


def _within(parser: MarkdownIt, content: str, env: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
    seen: list[tuple[int, int, str]] = []
    env[_IMAGES] = (content, seen)
    parser.inline.parse(content, parser, env, [])
    return iter(seen)


def _noted(state: StateInline, silent: bool) -> bool:
    """The parser's own rule; what it finds in the content itself is noted."""
    start = state.pos
    matched = image(state, silent)
    content, seen = state.env[_IMAGES]
    if matched and not silent and state.src is content:
        seen.append((start, state.pos, str(state.tokens[-1].attrs["src"])))
    return matched
