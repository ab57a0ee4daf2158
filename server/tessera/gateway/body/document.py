"""A request's body: what it says, and its text, of which all that is not changed goes on byte for byte."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import orjson

from tessera.compression import looks_like_gzip
from tessera.errors import InvalidJSON
from tessera.gateway.body import spans
from tessera.gateway.body.changes import nested, write
from tessera.gateway.body.path import Path
from tessera.gateway.body.skeleton import Skeleton
from tessera.gateway.body.syntax import invalid, locate

# Larger bodies are read in a thread, and without their long strings (see ``skeleton``).
INLINE_BYTES = 256 * 1024
# Levels of nesting. Parsers in Python, vLLM's too, give up at less than a thousand.
MOST_LEVELS = 254
# Members at the top that this server reads of any request: which of two is meant decides more here than what the engine
# does. Fields of a prompt come to them.
READ_FIELDS = (
    "model", "messages", "prompt", "stream", "stream_options", "n", "best_of", "media_io_kwargs", "mm_processor_kwargs",
    "visual_token_budget", "usage_by_part",
)  # fmt: skip

_BOM = b"\xef\xbb\xbf"
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")

_T = TypeVar("_T")


class Document:
    """Use ``read``.

    Attributes:
        value: the JSON object; names may stand for long strings in it (see ``string``). Not to be changed.
    """

    def __init__(self, text: bytes, skeleton: Skeleton | None = None, names: tuple[str, ...] = READ_FIELDS):
        self.value: dict[str, Any] = _parse(text, skeleton)
        self._text = text
        self._skeleton = skeleton
        self._large = skeleton is not None and len(skeleton.raw) > INLINE_BYTES
        self._changes: dict[Path, bytes | None] = {}
        _check_levels(text, self.value)
        _check_twins(text, names)

    @classmethod
    async def read(
        cls, raw: bytes | bytearray, most_values: int, names: tuple[str, ...] = READ_FIELDS, *, media: bool = False
    ) -> Document:
        """A document from its text.

        Args:
            raw: not to be changed from now on.
            most_values: see ``TESSERA_MAX_BODY_VALUES``.
            names: members at its top that this server reads.
            media: names stand for long data URLs in a small one, too.

        Raises:
            InvalidJSON: not a JSON object, or nested too deeply.
            InvalidRequest: a field that this server reads stands twice in it.
            RequestTooComplex: too many values.
        """
        if looks_like_gzip(raw):
            raise InvalidJSON("The request body is compressed with gzip. Say so: `Content-Encoding: gzip`.")
        if 0 in raw[:4] or raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InvalidJSON("The request body is in UTF-16 or UTF-32. Send JSON in UTF-8.")
        if len(raw) <= INLINE_BYTES:
            raw = raw.removeprefix(_BOM)
            skeleton = Skeleton.cut_data_urls(raw) if media else None
            return cls(bytes(raw) if skeleton is None else skeleton.text, skeleton, names)
        return await asyncio.to_thread(cls._read_large, raw, most_values, names)

    @classmethod
    def _read_large(cls, raw: bytes | bytearray, most_values: int, names: tuple[str, ...]) -> Document:
        skeleton = Skeleton.cut(raw.removeprefix(_BOM), most_values)
        return cls(skeleton.text, skeleton, names)

    @property
    def nbytes(self) -> int:
        """Of the text as it came."""
        return len(self._text if self._skeleton is None else self._skeleton.raw)

    async def run(self, work: Callable[[Document], _T]) -> _T:
        """Do something with the document: in a thread if it is large."""
        return await asyncio.to_thread(work, self) if self._large else work(self)

    def string(self, value: str) -> str:
        """The string for which one of the document's stands."""
        whole = self._skeleton.string(value) if self._skeleton is not None else None
        return value if whole is None else whole

    def set(self, path: Path, value: Any) -> None:
        """Replace a value, or add a member, in what goes on."""
        self._changes[path] = orjson.dumps(value)

    def put(self, path: Path, text: bytes) -> None:
        """The same with a value that is JSON already."""
        self._changes[path] = text

    def text_of(self, value: Any) -> bytes:
        """One of the document's values as JSON, whole."""
        text = orjson.dumps(value)
        return text if self._skeleton is None else self._skeleton.restore(text)

    def remove(self, path: Path) -> None:
        """Take a member out of what goes on."""
        self._changes[path] = None

    def encode(self) -> bytes:
        """The text that goes on.

        Raises:
            InvalidRequest: one of two members of the same name was to be changed.
        """
        text = self._changed() if self._changes else self._text
        return text if self._skeleton is None else self._skeleton.restore(text)

    def _changed(self) -> bytes:
        changes = nested(self._changes)
        # As most clients' libraries write JSON: then it need not be found where in the text each value stands. Only a
        # short one, since to write a long one would hold up others.
        if len(self._text) <= INLINE_BYTES and orjson.dumps(self.value) == self._text:
            return write(self.value, changes)
        return spans.splice(self._text, changes)


def _parse(text: bytes, skeleton: Skeleton | None) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        at = locate(text, error)
        raw, offset = (text, at) if skeleton is None else (skeleton.raw, skeleton.offset(at))
        raise invalid(raw, offset, text[:at], error.msg) from error
    if not isinstance(value, dict):
        raise InvalidJSON("The request body must be a JSON object.")
    return value


def _check_levels(text: bytes, value: dict[str, Any]) -> None:
    if text.count(b"[") + text.count(b"{") <= MOST_LEVELS:
        return
    try:
        orjson.dumps(value)  # which, unlike reading, goes no deeper than about as much
    except orjson.JSONEncodeError as error:
        raise InvalidJSON(f"The request body is nested more than {MOST_LEVELS} levels deep.") from error


def _check_twins(text: bytes, names: tuple[str, ...]) -> None:
    # Almost every body has each name once, and is done with here.
    found = Counter(_any_of(names).findall(text))
    escaped = b"\\" in text and _ESCAPED_LETTER.search(text)
    if escaped or any(count > 1 for count in found.values()):
        spans.refuse_twins(text, names)


@cache
def _any_of(names: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(rb'"(%b)"[ \t\r\n]*+:' % "|".join(names).encode())
