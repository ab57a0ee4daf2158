"""A large JSON text without its long strings, which stand in it as short names.

A parser holds Python's interpreter lock while it runs, so that 60 MiB of base64 in one string stop every other request
for a tenth of a second, in whatever thread it is parsed. Here only the quotes are looked for, which is ten times as
fast and in small steps; what is left to parse is small, and its size and number of values are limited.
"""

from __future__ import annotations

import re
import secrets
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from tessera.errors import RequestTooComplex
from tessera.gateway.body.syntax import invalid, locate

# Bytes; limits on what clients may send in names, ids and the like are all below it.
LONG = 1024
# What is done in one step, which another thread has to wait for: about a millisecond.
_STEP_BYTES = 256 * 1024
_STEP_STRINGS = 4096
# Limits the parsed text where strings, white space or digits make up most of it.
_BYTES_PER_VALUE = 32
# A member of an object, or a container, takes about this many times as long to parse as a number or a string.
_WEIGHT = 5

_QUOTE = b'"'
_BACKSLASH = ord("\\")
# No string ends in front of a letter: where no backslash stands before it, this begins one.
_DATA_URL = b'"data:'
# Escapes with which a pair of backslashes or a quote stands in a string, and something of the same length.
_PAIR, _ESCAPED_QUOTE, _NEITHER = rb"\\", rb"\"", b".."
# Of any text: to compile one of its own takes longer than all else that is done to a body of ordinary size.
_NAME = re.compile(rb'"([0-9a-f]{32}):(\d+)"')
_LOW_SURROGATE = re.compile(rb"\\u[dD][c-fC-F]..")
_LONGEST_ESCAPE = len(r"\ud83d\ude00")
# UTF-8: bytes of a character behind its first.
_CONTINUATION_MASK, _CONTINUATION, _LONGEST_CHARACTER = 0xC0, 0x80, 4


class _Budget:
    """How much there may be to parse.

    Raises:
        RequestTooComplex: more than that.
    """

    def __init__(self, most_values: int):
        self._most = most_values
        self._strings = self._weight = 0
        self._between: list[bytes | bytearray] = []

    def take(self, raw: bytes | bytearray, start: int, end: int, size: int) -> None:
        """Count what stands between two strings.

        Args:
            start, end: where that is.
            size: of what there is to parse until ``end``, bytes.
        """
        if size > self._most * _BYTES_PER_VALUE:
            raise self._exceeded()
        self._between.append(raw[start:end])
        if len(self._between) >= _STEP_STRINGS:
            self.check()

    def check(self) -> None:
        """Count what was not counted yet."""
        self._strings += len(self._between)
        text = b"".join(self._between)
        self._between.clear()
        for start in range(0, len(text), _STEP_BYTES):
            commas, *others = (text.count(mark, start, start + _STEP_BYTES) for mark in (b",", b":", b"[", b"{"))
            self._weight += commas + _WEIGHT * sum(others)
        if max(self._strings, self._weight) > self._most:
            raise self._exceeded()

    def _exceeded(self) -> RequestTooComplex:
        return RequestTooComplex(
            f"The request body has too many values: {self._most:,} are allowed, where members of objects, arrays and "
            f"objects count {_WEIGHT} times. Long texts, and media in single strings, do not count."
        )


@dataclass(frozen=True, slots=True)
class _Long:
    """A string that was taken out.

    Attributes:
        start, end: where it stands in the text, quotes included.
        at: where its name stands in the skeleton.
        plain: it is of ASCII alone, each character of which stands for itself.
    """

    start: int
    end: int
    at: int
    plain: bool = False


class Skeleton:
    """Use ``cut``, or ``cut_data_urls``.

    Attributes:
        raw: the text as it came.
        text: what is left; in place of each long string stands another one, which nobody can have guessed.
    """

    def __init__(self, raw: bytes | bytearray, text: bytes, key: str, taken: list[_Long]):
        self.text = text
        self.raw = raw
        self._key = key
        self._taken = taken

    @classmethod
    def cut(cls, raw: bytes | bytearray, most_values: int) -> Skeleton:
        """Take the long strings out, and check that they are valid.

        Args:
            raw: a JSON text, perhaps; not to be changed from now on.
            most_values: limit on the number of values, see ``TESSERA_MAX_BODY_VALUES``.

        Raises:
            InvalidJSON: a string without an end, or with what no string may have.
            RequestTooComplex: over the limit.
        """
        key = secrets.token_hex(16)
        pieces: list[bytes | bytearray] = []
        taken: list[_Long] = []
        budget = _Budget(most_values)
        size = kept = end = 0
        start = raw.find(_QUOTE)
        while start >= 0:
            budget.take(raw, end, start, size + start - kept)
            end = _end_of_string(raw, start)
            if not end:
                before = b"".join([*pieces, raw[kept:start]])
                raise invalid(raw, start, before, "the string that begins here has no end")
            if end - start > LONG:
                pieces += raw[kept:start], _name(key, len(taken))
                size += start - kept
                taken.append(_Long(start, end, size))
                size += len(pieces[-1])
                kept = end
            start = raw.find(_QUOTE, end)
        budget.take(raw, end, len(raw), size + len(raw) - kept)
        budget.check()
        skeleton = cls(raw, b"".join([*pieces, raw[kept:]]), key, taken)
        for long in taken:
            for _ in skeleton._decoded(long):
                pass
        return skeleton

    @classmethod
    def cut_data_urls(cls, raw: bytes | bytearray) -> Skeleton | None:
        """Take only long data URLs out, which is quick; None where there are none.

        A parser looks at each of their characters, and so does all else that is done with a text. What is not as most
        data URLs are, or is no valid string, stays where it is.
        """
        start = raw.find(_DATA_URL)
        if start < 0:
            return None
        key = secrets.token_hex(16)
        pieces: list[bytes | bytearray] = []
        taken: list[_Long] = []
        size = kept = 0
        while start >= 0:
            end = raw.find(_QUOTE, start + 1) + 1
            if end - start > LONG and raw[start - 1] != _BACKSLASH and _is_plain(raw, start + 1, end - 1):
                pieces += raw[kept:start], _name(key, len(taken))
                size += start - kept
                taken.append(_Long(start, end, size, plain=True))
                size += len(pieces[-1])
                kept = end
            start = raw.find(_DATA_URL, max(start + 1, kept))
        return cls(raw, b"".join([*pieces, raw[kept:]]), key, taken) if taken else None

    def string(self, value: str) -> str | None:
        """The long string for which ``value`` stands in the skeleton; None: it is what the client sent."""
        key, _, index = value.partition(":")
        if key != self._key:
            return None
        long = self._taken[int(index)]
        if long.plain:
            return str(memoryview(self.raw)[long.start + 1 : long.end - 1], "ascii")
        return "".join(self._decoded(long))

    def restore(self, text: bytes) -> bytes:
        """A text with long strings in place of their names again, as they came."""
        pieces: list[bytes | memoryview] = []
        view, done, key = memoryview(self.raw), 0, self._key.encode()
        for name in _NAME.finditer(text):
            if name[1] != key:
                continue
            long = self._taken[int(name[2])]
            pieces += text[done : name.start()], view[long.start : long.end]
            done = name.end()
        return b"".join([*pieces, text[done:]])

    def offset(self, at: int) -> int:
        """Where in the text as it came that is which stands at ``at`` in the skeleton."""
        index = bisect_right(self._taken, at, key=lambda long: long.at) - 1
        if index < 0:
            return at
        long = self._taken[index]
        return long.end + max(0, at - long.at - len(_name(self._key, index)))

    def _decoded(self, long: _Long) -> Iterator[str]:
        """A long string, decoded piece by piece."""
        view, position, stop = memoryview(self.raw), long.start + 1, long.end - 1
        escapes = self.raw.find(b"\\", position, stop) >= 0
        while position < stop:
            end = _next_boundary(self.raw, position, stop, escapes=escapes)
            text = b"".join((_QUOTE, view[position:end], _QUOTE))
            try:
                piece: str = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                offset = position - 1 + locate(text, error)
                raise invalid(self.raw, offset, self.text[: long.at], error.msg) from error
            yield piece
            position = end


def _name(key: str, index: int) -> bytes:
    return f'"{key}:{index}"'.encode()


def _is_plain(raw: bytes | bytearray, start: int, end: int) -> bool:
    if raw.find(_BACKSLASH, start, end) >= 0:
        return False
    # As signed numbers, bytes from 0x80 on are below all others.
    codes = np.frombuffer(raw, np.int8, end - start, start)
    return bool(codes.min() >= ord(" "))


def _end_of_string(raw: bytes | bytearray, start: int) -> int:
    """Where the string at ``start`` ends; 0: it does not."""
    end = raw.find(_QUOTE, start + 1)
    if end < 0 or raw[end - 1] != _BACKSLASH:
        return end + 1
    position = start + 1
    while True:
        step = raw[position : position + _STEP_BYTES].replace(_PAIR, _NEITHER).replace(_ESCAPED_QUOTE, _NEITHER)
        if (end := step.find(_QUOTE)) >= 0:
            return position + end + 1
        if position + len(step) == len(raw):
            return 0
        position += len(step) - (step[-1] == _BACKSLASH)


def _next_boundary(raw: bytes | bytearray, position: int, stop: int, *, escapes: bool) -> int:
    """Where the next piece of a string may end: not within a character, an escape, or a pair of surrogates."""
    end = position + _STEP_BYTES
    if end >= stop:
        return stop
    if escapes:
        step = raw[position:end].replace(_PAIR, _NEITHER)
        escape = step.find(_BACKSLASH, len(step) - _LONGEST_ESCAPE)
        if escape >= 0:
            end = position + escape
            return end + len(r"\udc00") if _LOW_SURROGATE.match(raw, end) else end
    for _ in range(_LONGEST_CHARACTER - 1):
        end -= raw[end] & _CONTINUATION_MASK == _CONTINUATION
    return end
