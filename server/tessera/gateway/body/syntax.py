"""Says in words what is wrong in a text that is not JSON, and where."""

from __future__ import annotations

import re

import orjson

from tessera.errors import InvalidJSON
from tessera.gateway.body.path import Path, written

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}:,]', re.DOTALL)
_NO_NUMBER = re.compile(rb"NaN|Infinity")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_LINE_END = b"\n"


def locate(text: bytes, error: orjson.JSONDecodeError) -> int:
    """Offset, in bytes, of what ``orjson`` stumbled over in the text: it counts characters, and in bad UTF-8 none."""
    if error.doc:
        return len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
    try:
        text.decode()
    except UnicodeDecodeError as bad:
        return bad.start
    return 0


def invalid(raw: bytes | bytearray, offset: int, before: bytes, complaint: str) -> InvalidJSON:
    """The error to answer with.

    Args:
        raw: the text as the client sent it.
        offset: of what is wrong, in bytes.
        before: the text in front of it, which tells to which value it belongs; it may lack what does not matter.
        complaint: what is wrong, where nothing better is known.
    """
    start = raw.rfind(_LINE_END, 0, offset) + 1
    line = raw.count(_LINE_END, 0, offset) + 1
    column = len(raw[start:offset].decode("utf-8", "replace")) + 1
    path = _path(before)
    where = f" in `{written(path)}`" if path else ""
    what = _what(bytes(raw[offset : offset + 9])) or complaint
    message = f"The request body is not valid JSON at line {line}, column {column}{where}: {what}."
    return InvalidJSON(message, param=written(path) or None)


def _what(there: bytes) -> str | None:
    if found := _NO_NUMBER.match(there):
        return f"JSON has no {found[0].decode()}: send a number, null, or leave the field out"
    if found := _SURROGATE.match(there):
        return (
            f"{found[0].decode()} is half of a character without its other half, which no text can hold: "
            r"leave it out or send \ufffd instead"
        )
    return None


def _path(before: bytes) -> Path:
    """The way to the value that begins, or goes on, where the text ends."""
    steps: list[str | int | None] = []
    named = False
    for found in _TOKEN.finditer(before):
        token = found[0]
        if token in b"[{":
            steps.append(0 if token == b"[" else None)
            named = False
        elif token in b"]}":
            del steps[-1:]
            named = True
        elif not steps:
            continue
        elif token == b",":
            named = False
            steps[-1] = steps[-1] + 1 if isinstance(steps[-1], int) else None
        elif token == b":":
            named = True
        elif not named and not isinstance(steps[-1], int):
            steps[-1] = _name(token)
    return tuple(step for step in steps if step is not None)


def _name(token: bytes) -> str:
    try:
        name: str = orjson.loads(token)
    except orjson.JSONDecodeError:
        return "…"
    return name
