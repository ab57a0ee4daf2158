"""A form with a file in it (``multipart/form-data``), read as it comes: of the file nothing is kept here."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tessera.errors import (
    Cancelled,
    FileTooLarge,
    InvalidForm,
    MissingField,
    RequestTimeout,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from tessera.gateway.origin import check_origin

# Boundaries, headers and fields.
OVERHEAD_BYTES = 64 * 1024
_LONGEST_NAME_BYTES = 255
# At the end of the name of a field of which there may be several.
_LIST = "[]"

# It tells of each body that is no form; the client is told, and whoever likes sends such bodies.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a form may have beside its file.

    Attributes:
        fields: most parts of it, the file included.
        field_bytes: most of one.
        lists: fields whose names end in ``[]`` may come more than once.
        alone: the file may be missing.
    """

    fields: int = 16
    field_bytes: int = 4096
    lists: bool = False
    alone: bool = False


_USUAL = Beside()


@dataclass
class Form:
    """What came beside the file.

    Attributes:
        fields: by name.
        lists: by name, without the ``[]`` at its end.
        filename: the last part of what the client calls the file.
        has_file: whether there was one.
    """

    filename: str = "upload"
    fields: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    has_file: bool = False


def expected_bytes(request: Request) -> int | None:
    """What a file in the body can have at the most; None: the client does not say."""
    declared = request.headers.get("content-length", "")
    return int(declared) if re.fullmatch(r"[0-9]{1,18}", declared, re.ASCII) else None


async def read_form(
    request: Request,
    name: str,
    take: Callable[[bytes], Awaitable[None]],
    *,
    most_bytes: int,
    limit_s: float,
    beside: Beside = _USUAL,
) -> Form:
    """Read all of a form.

    Args:
        name: of the field with the file; there has to be one.
        take: gets the file, piece by piece.
        most_bytes: of the file.
        limit_s: longest arrival of all of it.
        beside: what else it may have.

    Raises:
        OriginNotAllowed, UnsupportedMediaType, UnsupportedContentEncoding, FileTooLarge: it is not read at all.
        InvalidForm: it is no form, or not one with one file.
        MissingField: it has no file.
        RequestTimeout, FileTooLarge, Cancelled, and what ``take`` raises.
    """
    check_origin(request)
    reader = _Reader(_boundary(request), name, beside)
    most = most_bytes + OVERHEAD_BYTES
    if (expected_bytes(request) or 0) > most:
        raise _too_large(most_bytes, name)
    clock = asyncio.get_running_loop().time
    end, total = clock() + limit_s, 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise _too_large(most_bytes, name)
            if clock() > end:
                raise RequestTimeout(f"The request's body did not arrive in {limit_s:g} s.")
            for piece in reader.feed(chunk):
                await take(piece)
    except ClientDisconnect as error:
        raise Cancelled("The client closed the connection before its request was complete.") from error
    return reader.end()


class _Reader:
    def __init__(self, boundary: bytes, name: str, beside: Beside):
        self._name = name
        self._beside = beside
        self._form = Form()
        self._pieces: list[bytes] = []
        self._in_file = self._complete = False
        self._fields = 0
        self._field = ""
        self._value = bytearray()
        self._header, self._disposition = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._header.clear,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        """Read on. Returns what came of the file."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidForm("The request body is not valid `multipart/form-data`.") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> Form:
        """All has come."""
        if not self._complete:
            raise InvalidForm("The request body ends before its last boundary.")
        if not (self._form.has_file or self._beside.alone):
            raise MissingField(f"The form has no file `{self._name}`.", param=self._name)
        return self._form

    def _begin(self) -> None:
        self._fields += 1
        if self._fields > self._beside.fields:
            raise InvalidForm(f"The form has more than {self._beside.fields} fields.")
        self._disposition.clear()
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(bytes(self._disposition))
        if kind != b"form-data" or not options.get(b"name"):
            raise InvalidForm("A part of the form has no `Content-Disposition: form-data` with a `name`.")
        self._field = _text(options[b"name"])
        self._in_file = self._field == self._name
        if self._in_file:
            if self._form.has_file:
                raise InvalidForm(f"The form has more than one file `{self._name}`.", param=self._name)
            self._form.has_file = True
            if b"filename" in options:
                self._form.filename = clean_filename(_text(options[b"filename"]), param=self._name)
        elif b"filename" in options:
            raise InvalidForm(f"The form has a file of another name than `{self._name}`.")
        elif self._field in self._form.fields and not self._is_list:
            raise InvalidForm("The form has a field twice.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > self._beside.field_bytes:
            raise InvalidForm(f"A field of the form has more than {self._beside.field_bytes} bytes.")

    def _end(self) -> None:
        if self._in_file:
            return
        value = _text(bytes(self._value))
        if self._is_list:
            self._form.lists.setdefault(self._field.removesuffix(_LIST), []).append(value)
        else:
            self._form.fields[self._field] = value

    @property
    def _is_list(self) -> bool:
        return self._beside.lists and self._field.endswith(_LIST)

    def _finish(self) -> None:
        self._complete = True


def clean_filename(given: str, *, param: str) -> str:
    """The last part of what a client calls a file: it is shown again, and is no path to anything.

    Raises:
        InvalidForm: characters that nobody can see, or too long.
    """
    name = re.split(r"[/\\]", given)[-1].strip()
    if name in ("", ".", ".."):
        return "upload"
    if not name.isprintable() or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise InvalidForm(f"The file's name must be printable, and at most {_LONGEST_NAME_BYTES} bytes.", param=param)
    return name


def _boundary(request: Request) -> bytes:
    codings = {coding.strip().lower() for coding in ",".join(request.headers.getlist("content-encoding")).split(",")}
    if codings - {"", "identity"}:
        raise UnsupportedContentEncoding("Files are not taken compressed: send the form as it is.")
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType("Send a form with a file: `Content-Type: multipart/form-data`.")
    boundary = options.get(b"boundary", b"")
    # As RFC 2046 has it.
    if not 1 <= len(boundary) <= 70:
        raise InvalidForm("The content type has no boundary of 1 to 70 characters.")
    return boundary


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidForm("A name or a field of the form is not in UTF-8.") from None


def _too_large(most_bytes: int, name: str) -> FileTooLarge:
    return FileTooLarge(f"The file has more than the {most_bytes:,} bytes that it may have.", param=name)
