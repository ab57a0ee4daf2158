"""A server's batches and files, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

# An upload, and a download, may take as long as it likes as long as something of it moves.
_STALL_S = 60.0
_READ_BYTES = 256 * 1024


class Refused(Exception):
    """The server says no; the message is its own.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Unreachable(Exception):
    """Nobody answers, or cannot at the moment; another try may find somebody."""


class Server:
    """Use ``open``.

    Args:
        url: its address.
        key: for it; empty: it asks for none.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str):
        self._http = http
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, key: str) -> AsyncIterator[Self]:
        """Connections to a server, until the context ends."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_STALL_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            yield cls(http, url, key)

    async def upload(self, path: Path) -> str:
        """Send an input file, piece by piece. Returns its id."""
        with path.open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", file, filename=path.name)
            sent = await self._ask("POST", "/v1/files", data=form)
        return str(sent["id"])

    async def begin(self, file_id: str, endpoint: str) -> dict[str, Any]:
        """Begin a batch. Returns it."""
        return await self._ask(
            "POST",
            "/v1/batches",
            json={"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"},
        )

    async def find(self, batch_id: str) -> dict[str, Any]:
        """A batch as it stands."""
        return await self._ask("GET", f"/v1/batches/{batch_id}")

    async def cancel(self, batch_id: str) -> dict[str, Any]:
        """End a batch. Returns it."""
        return await self._ask("POST", f"/v1/batches/{batch_id}/cancel")

    async def download(self, file_id: str, path: Path) -> None:
        """Get a file. It is there as a whole, or not at all."""
        part = path.with_name(f"{path.name}.part")
        async with self._answer("GET", f"/v1/files/{file_id}/content") as response:
            with part.open("wb") as file:
                async for piece in response.content.iter_chunked(_READ_BYTES):
                    file.write(piece)
        part.replace(path)

    async def forget(self, file_id: str) -> None:
        """Delete a file."""
        await self._ask("DELETE", f"/v1/files/{file_id}")

    async def _ask(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        async with self._answer(method, path, **sent) as response:
            try:
                answer: dict[str, Any] = orjson.loads(await response.read())
            except orjson.JSONDecodeError as error:
                raise Refused(response.status, f"{self._url}{path} answers no JSON: is it a Tessera?") from error
            return answer

    @asynccontextmanager
    async def _answer(self, method: str, path: str, **sent: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises Refused and Unreachable."""
        try:
            async with self._http.request(method, self._url + path, headers=self._headers, **sent) as response:
                if response.status >= 400:
                    message = _message(await response.read())
                    if response.status >= 500:
                        raise Unreachable(f"{self._url} answers {response.status}: {message}")
                    raise Refused(response.status, message)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"No answer from {self._url} ({reason}): is `tessera up` running? `--url`.") from error


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (KeyError, TypeError, ValueError):
        return body[:200].decode(errors="replace")
