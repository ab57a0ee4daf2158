"""Clients that have large media decoded, in a process of their own: what they compute holds up nobody who is timed."""

from __future__ import annotations

import asyncio
import base64
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from types import TracebackType
from typing import Self

import aiohttp
import orjson
import uvloop

from loadtests import media_files
from tessera.processes import end_with_parent
from tessera.settings import SIMULATED

# Requests at once, and how many different ones: none is known when it is sent.
_AT_ONCE = 2
_DIFFERENT = 4
_SERIAL = b"SERIAL"

# Of the process that sends them: to make them takes seconds.
_bodies: list[bytes] = []


class MediaLoad:
    """Pages, photographs and a clip, some at once; made when the block begins."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent)

    async def __aenter__(self) -> Self:
        await asyncio.get_running_loop().run_in_executor(self._process, _make)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.shutdown(cancel_futures=True)

    async def send(self, url: str, seconds: float) -> int:
        """Have them decoded for so long. Returns how many were."""
        return await asyncio.get_running_loop().run_in_executor(self._process, _send, url, seconds)


def _make() -> None:
    clip = media_files.clip(10)
    for number in range(_DIFFERENT):
        _bodies.append(_body("image_url", media_files.page(number)))
        _bodies.append(_body("image_url", media_files.photograph(number)))
        if number % 4 == 0:
            _bodies.append(_body("video_url", clip))


def _body(part: str, data: bytes) -> bytes:
    """A request with a data URL, whose media type has room for a serial number."""
    url = f"data:{part.removesuffix('_url')}/x-SERIAL;base64,{base64.b64encode(data).decode()}"
    content = [{"type": part, part: {"url": url}}, {"type": "text", "text": "?"}]
    return orjson.dumps({"model": SIMULATED, "messages": [{"role": "user", "content": content}], "max_tokens": 1})


def _send(url: str, seconds: float) -> int:
    return uvloop.run(_send_all(url, time.perf_counter() + seconds))


async def _send_all(url: str, ends: float) -> int:
    numbered = enumerate(itertools.cycle(_bodies))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:
        return sum(await asyncio.gather(*(_send_some(http, url, numbered, ends) for _ in range(_AT_ONCE))))


async def _send_some(http: aiohttp.ClientSession, url: str, numbered: Iterator[tuple[int, bytes]], ends: float) -> int:
    sent = 0
    while time.perf_counter() < ends:
        number, body = next(numbered)
        # Changed a little each time, behind the end of the file: nothing has been seen before.
        data = BytesIO(body.replace(_SERIAL, b"%06d" % (number % 1_000_000)))
        headers = {"Content-Type": "application/json"}
        async with http.post(f"{url}/v1/chat/completions", data=data, headers=headers) as response:
            assert response.status == 200, await response.text()
            await response.read()
        sent += 1
    return sent
