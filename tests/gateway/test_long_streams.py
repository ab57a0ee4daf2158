"""Streams that last, behind nginx and HAProxy as documented: some always say something, others seldom do.

``make test-long-streams`` has them last half an hour; here they take seconds.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tessera.settings import SIMULATED, Settings
from tests.gateway.gateway_process import gateway_process
from tests.gateway.proxies import PROXIES, proxy
from tests.worker.simulated.worker_process import worker_process

SECONDS = float(os.environ.get("TESSERA_TEST_STREAM_SECONDS", "3"))
STEP_MS = 100.0
STEPS = int(SECONDS * 1000 / STEP_MS)
# Of half an hour: a token every 30 s, while heartbeats come every five.
SELDOM = max(STEPS // 60, 10)
TOKEN = re.compile(rb'"content":\s*" ?\w+\.(\d+) ?"')


async def stream(http: aiohttp.ClientSession, tokens: int, slowness: int) -> dict[str, object]:
    """What a client reads of one answer, piece by piece, as it comes."""
    body = {
        "model": SIMULATED,
        "messages": [{"role": "user", "content": f"Say {tokens}"}],
        "stream": True,
        "max_tokens": tokens,
        "ignore_eos": True,
        "simulate": {"slowness": slowness},
    }
    numbers: list[int] = []
    comments, pieces, longest_s, ended = 0, 0, 0.0, False
    began = last = time.monotonic()
    async with http.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            pieces += bool(line.strip())
            comments += line.startswith(b":")
            numbers += map(int, TOKEN.findall(line))
            ended = ended or line == b"data: [DONE]\n"
            longest_s, last = max(longest_s, time.monotonic() - last), time.monotonic()
    assert numbers == list(range(tokens)), "each token once, in order"
    assert ended
    return {
        "tokens": tokens,
        "pieces": pieces,
        "comments": comments,
        "s": last - began,
        "longest silence, s": longest_s,
    }


@pytest.mark.timeout(SECONDS + 240)
async def test_streams_last_through_proxies(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        redis_url=redis_url,
        redis_prefix="long",
        media_sandbox="off",
        trusted_proxies="127.0.0.1",
        simulated_decode_step_ms=STEP_MS,
        log_format="json",
    )
    timeout = aiohttp.ClientTimeout(total=None)
    async with AsyncExitStack() as stack:
        stack.enter_context(worker_process(settings, tmp_path / "worker.log"))
        gateway = await stack.enter_async_context(gateway_process(settings))
        port = int(gateway.url.rsplit(":", 1)[1])
        streams = []
        for kind in PROXIES:
            folder = tmp_path / kind
            folder.mkdir()
            url = await stack.enter_async_context(proxy(kind, port, folder))
            http = await stack.enter_async_context(aiohttp.ClientSession(url, timeout=timeout))
            streams += [(kind, stream(http, STEPS, 1)), (kind, stream(http, STEPS // SELDOM, SELDOM))]
        told = await asyncio.gather(*(one for _, one in streams))
    for (kind, _), said in zip(streams, told, strict=True):
        print(kind, said)
