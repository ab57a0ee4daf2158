"""The input of a batch: one request a line, read piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from tessera.batches import Batch, Problem
from tessera.errors import ModelNotFound, TesseraError
from tessera.files import File, Files
from tessera.gateway.catalogue import Catalogue

PIECE_BYTES = 1024 * 1024
MOST_PROBLEMS = 50
LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class Line:
    """A request as it stands in the file.

    Attributes:
        number: from 1 on; empty lines count.
        end: bytes of the file up to and with it.
        raw: without the line's end; empty where it has more bytes than a request may.
    """

    number: int
    end: int
    raw: bytes


async def read_lines(
    files: Files, file: File, most_bytes: int, *, number: int = 0, offset: int = 0
) -> AsyncGenerator[Line, None]:
    """The lines of a file that are not empty.

    Args:
        most_bytes: of one; a longer one is not kept in memory.
        number, offset: of the line behind which they begin.
    """
    rest, dropped = bytearray(), 0
    at = offset
    while at < file.nbytes or rest or dropped:
        piece = b""
        if at < file.nbytes:
            end = min(at + PIECE_BYTES, file.nbytes)
            async with aclosing(files.read(file, at, end)) as pieces:
                async for some in pieces:
                    piece += some
            at = end
        *whole, tail = piece.split(b"\n")
        if at == file.nbytes and tail:
            whole.append(tail)  # the last line needs no end
            tail = b""
        elif at == file.nbytes and not whole and (rest or dropped):
            whole.append(b"")
        for some in whole:
            number += 1
            offset = min(offset + len(rest) + dropped + len(some) + 1, file.nbytes)
            line = bytes(rest) + some
            too_long = bool(dropped) or len(line) > most_bytes
            rest, dropped = bytearray(), 0
            if too_long or line.strip():
                yield Line(number, offset, b"" if too_long else line.strip())
        rest += tail
        if len(rest) > most_bytes:
            rest, dropped = bytearray(), dropped + len(rest)


def parse(raw: bytes) -> dict[str, Any]:
    """A request. Raises ``ValueError`` where it is no object."""
    request = orjson.loads(raw)
    if not isinstance(request, dict):
        raise ValueError("not an object")
    return request


async def look_over(
    batch: Batch, files: Files, file: File, catalogue: Catalogue, *, most_lines: int, most_bytes: int
) -> tuple[int, list[Problem]]:
    """Count the requests of a batch, and say what is wrong with them."""
    total, seen, found = 0, set[bytes](), list[Problem]()
    async with aclosing(read_lines(files, file, most_bytes)) as lines:
        async for line in lines:
            total += 1
            if total % 64 == 0:
                await asyncio.sleep(0)  # others have a turn
            if total > most_lines:
                what = f"The input has more than the {most_lines:,} requests that a batch may have."
                return total, [Problem("too_many_requests", what)]
            problem = _problem_of(batch, line, seen, catalogue)
            if problem is not None:
                found.append(Problem(*problem, line.number))
                if len(found) >= MOST_PROBLEMS:
                    break
    if not total:
        found.append(Problem("empty_file", "The input file is empty. It needs at least one request."))
    return total, found


def _problem_of(batch: Batch, line: Line, seen: set[bytes], catalogue: Catalogue) -> tuple[str, str, str | None] | None:
    if not line.raw:
        return "line_too_long", "This line has more bytes than a request may.", None
    try:
        request = parse(line.raw)
    except ValueError:
        return "invalid_json_line", "This line is not a JSON object.", None
    name = request.get("custom_id")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID:
        return "missing_custom_id", f"`custom_id` must be a string of 1 to {LONGEST_ID} characters.", "custom_id"
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).digest()
    if digest in seen:
        return "duplicate_custom_id", "Another line has this `custom_id`; each must have its own.", "custom_id"
    seen.add(digest)
    if request.get("method") != "POST":
        return "invalid_method", "`method` must be `POST`.", "method"
    if request.get("url") != batch.endpoint:
        return "mismatched_url", f"`url` must be the batch's `endpoint`, {batch.endpoint}.", "url"
    body = request.get("body")
    if not isinstance(body, dict):
        return "missing_body", "`body` must be the request, an object.", "body"
    model = body.get("model")
    if not isinstance(model, str) or not model:
        return "missing_model", "`body.model` must be the name of a model.", "body.model"
    try:
        catalogue.target(model)
    except ModelNotFound as error:
        return "model_not_found", error.message, "body.model"
    except TesseraError:
        return None  # it may come back
    return None
