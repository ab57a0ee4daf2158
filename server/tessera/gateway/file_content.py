"""A file's bytes on their way to a client."""

from __future__ import annotations

import re
from contextlib import aclosing
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.errors import RangeNotSatisfiable, TesseraError
from tessera.files import File, Files
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.request_id import tell

log = structlog.get_logger()

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)


class FileContent(Response):
    """All of a file, or the range that the request asks for."""

    def __init__(self, files: Files, file: File, request: Request):
        super().__init__()
        self._files = files
        self._file = file
        self._range = request.headers.get("range", "")
        self._if_range = request.headers.get("if-range", "")
        self._only_head = request.scope.get("tessera.head", False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        file, etag = self._file, f'"{self._file.sha256}"'
        wanted = self._range if self._if_range in ("", etag) else ""
        start, end, part = _range_of(wanted, file.nbytes, scope)
        headers = {
            # Whatever is in it: nothing of it is to run in a browser as if it came from here.
            "content-type": "application/octet-stream",
            "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox",
            "content-length": str(end - start),
            "accept-ranges": "bytes",
            "etag": etag,
        }
        if part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.nbytes}"
        head = {
            "type": "http.response.start",
            "status": 206 if part else 200,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        if self._only_head:
            await send(head)
            await send({"type": "http.response.body", "body": b""})
            return
        begun = False
        try:
            async with cancel_on_disconnect(receive), aclosing(self._files.read(file, start, end)) as pieces:
                async for piece in pieces:
                    # What cannot be read is still an error with a status of its own here.
                    if not begun:
                        begun = True
                        await send(head)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if not begun:
                    await send(head)
                await send({"type": "http.response.body", "body": b""})
        except TesseraError as error:
            if not begun:
                raise
            # The server ends the connection, by which the client sees that this is not all.
            log.info("file_content_broken_off", file=file.id, code=error.code)


def _range_of(wanted: str, nbytes: int, scope: Scope) -> tuple[int, int, bool]:
    """Start and end of what is asked for, and whether that is a part. Several ranges are as if there were none."""
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        return 0, nbytes, False
    if found[3]:
        start, end = max(0, nbytes - int(found[3])), nbytes
    else:
        start, end = int(found[1]), min(nbytes, int(found[2]) + 1 if found[2] else nbytes)
    if start >= end:
        tell(scope, b"content-range", f"bytes */{nbytes}")
        raise RangeNotSatisfiable(f"The file has {nbytes:,} bytes, and none in this range.", param="Range")
    return start, end, True
