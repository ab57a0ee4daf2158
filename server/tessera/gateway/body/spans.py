"""Where values stand in a JSON text, so that some can be changed while the rest stays as it came, byte for byte.

A text that was parsed and written anew says the same and yet is another one: integers beyond 64 bits become floats,
``1e5`` becomes ``100000.0``, escapes and blanks change. Nothing here checks the text: it has to be valid JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import orjson

from tessera.errors import InvalidRequest
from tessera.gateway.body.changes import Change
from tessera.gateway.body.path import Path, written

_QUOTE, _BACKSLASH = b'"\\'
_OPENING = b"{["
_END_OF_ARRAY = ord("]")
_BLANK = rb"[ \t\r\n]*+"
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NAME = re.compile(rb"[ \t\r\n,]*+(?:(%b)%b:%b|\})" % (_STRING.pattern, _BLANK, _BLANK), re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\r\n,]*+")
_SCALAR = re.compile(rb"[^,\]}\s]++")
# The next bracket, or the quote of a string that is not short: a short one is quicker skipped in the same match. These
# are counted, so that they cost no memory, and not possessive: before Python 3.11.5 a group that is, and fails in its
# middle, makes the whole fail (python/cpython#106052).
_MARK = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]{0,32}+"[^"\[\]{}]*+){0,64}(["\[\]{}])')


def splice(text: bytes, changes: Mapping[str | int, Change]) -> bytes:
    """The text with some values replaced, taken out, or added.

    Args:
        text: a JSON object.
        changes: of its members. One that its object does not have is added in front of the others; everything else
            on a path must be there.

    Raises:
        InvalidRequest: a member on one of the paths stands twice in its object: which one was meant?
    """
    pieces: list[bytes] = []
    done = 0
    for start, end, piece in _cuts(text, _start(text), changes, ()):
        pieces += text[done:start], piece
        done = end
    return b"".join([*pieces, text[done:]])


def refuse_twins(text: bytes, names: Collection[str]) -> None:
    """Check that none of these names stands twice at the top of the text, which is a JSON object.

    Parsers take the last, as this one does, but not all of them, and what was meant nobody knows.

    Raises:
        InvalidRequest: naming it.
    """
    seen = set()
    for name, *_ in _members(text, _start(text)):
        if name in names and name in seen:
            raise _twin((name,))
        seen.add(name)


def _twin(path: Path) -> InvalidRequest:
    param = written(path)
    return InvalidRequest(f"`{param}` stands twice in its object. Send it once.", param=param)


def _start(text: bytes) -> int:
    return _matched(_BETWEEN, text, 0).end()


def _cuts(text: bytes, start: int, node: Mapping[str | int, Change], path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and replacement of each piece that changes in the value at ``start``, in their order."""
    if text[start] not in _OPENING:
        raise ValueError(f"{written(path)} is neither an object nor an array")
    if text[start] == _OPENING[1]:
        for index, (first, last) in enumerate(_elements(text, start)):
            if index in node:
                yield from _cut(text, first, last, node[index], (*path, index))
        return
    members = list(_members(text, start))
    names = [name for name, *_ in members]
    for name in node:
        if names.count(name) > 1:  # type: ignore[arg-type]
            raise _twin((*path, name))
    kept = [i for i, name in enumerate(names) if node.get(name, b"") is not None]
    added = [(name, new) for name, new in node.items() if name not in names and isinstance(new, bytes)]
    if added:
        new = b",".join(orjson.dumps(name) + b":" + value for name, value in added)
        yield start + 1, start + 1, new + b"," * bool(kept)
    behind = kept[-1] + 1 if kept else 0
    for i, (name, first, value, last) in enumerate(members[:behind]):
        if (change := node.get(name, b"")) is None:
            yield first, members[i + 1][1], b""  # with the comma behind it
        elif name in node:
            yield from _cut(text, value, last, change, (*path, name))
    if behind < len(members):  # with the comma in front of them
        yield members[behind - 1][3] if kept else members[0][1], members[-1][3], b""


def _cut(text: bytes, start: int, end: int, change: Change, path: Path) -> Iterator[tuple[int, int, bytes]]:
    if isinstance(change, Mapping):
        yield from _cuts(text, start, change, path)
    else:
        yield start, end, change or b""


def _members(text: bytes, start: int) -> Iterator[tuple[str, int, int, int]]:
    """Of the object at ``start``: each name, where it starts, and where its value starts and ends."""
    position = start + 1
    while True:
        found = _matched(_NAME, text, position)
        if found[1] is None:
            return
        name = orjson.loads(found[1]) if b"\\" in found[1] else found[1][1:-1].decode()
        position = _end(text, found.end())
        yield name, found.start(1), found.end(), position


def _elements(text: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Of the array at ``start``: where each element starts and ends."""
    position = start + 1
    while True:
        found = _matched(_BETWEEN, text, position)
        if text[found.end()] == _END_OF_ARRAY:
            return
        position = _end(text, found.end())
        yield found.end(), position


def _end(text: bytes, start: int) -> int:
    """Where the value at ``start`` ends."""
    if text[start] == _QUOTE:
        return _end_of_string(text, start)
    if text[start] not in _OPENING:
        return _matched(_SCALAR, text, start).end()
    position, depth = start, 0
    while True:
        found = _matched(_MARK, text, position)
        position = found.end()
        if found[1] == b'"':
            position = _end_of_string(text, position - 1)
            continue
        depth += 1 if found[1] in _OPENING else -1
        if not depth:
            return position


def _end_of_string(text: bytes, start: int) -> int:
    # Looking for one character is many times as fast as a pattern.
    end = text.find(b'"', start + 1)
    return end + 1 if text[end - 1] != _BACKSLASH else _matched(_STRING, text, start).end()


def _matched(pattern: re.Pattern[bytes], text: bytes, position: int) -> re.Match[bytes]:
    found = pattern.match(text, position)
    assert found is not None, "valid JSON"
    return found
