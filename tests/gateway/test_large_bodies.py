"""Large bodies stop nobody else's request: the event loop goes on turning while they are read."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from PIL import Image

from tests.gateway.scripted import chat, sent

MIB = 1024 * 1024
# Processor time of this process, threads included, between two turns of its loop: the load of the machine does not
# count. On an idle one it is below 0.06 s for each of these, and was 7 s.
LONGEST_GAP_S = 2.0


class Gap:
    """The longest one."""

    def __init__(self) -> None:
        self.longest_s = 0.0


@asynccontextmanager
async def watched() -> AsyncIterator[Gap]:
    gap, over = Gap(), False

    async def turn() -> None:
        last = time.process_time()
        while not over:
            await asyncio.sleep(0)
            now = time.process_time()
            gap.longest_s, last = max(gap.longest_s, now - last), now

    turning = asyncio.create_task(turn())
    try:
        yield gap
    finally:
        over = True
        await turning


def repeated(piece: bytes, nbytes: int = 60 * MIB) -> bytes:
    return piece * (nbytes // len(piece))


@pytest.mark.parametrize(
    "piece",
    [b'"",', b"[],", b"[", b'{"a":1},', b'{"a":', b"0,", b"1", b" ", b'"', b'"%b",' % (b"x" * 1000)],
    ids=["strings", "arrays", "nested", "objects", "nested-objects", "numbers", "digits", "blanks", "quotes", "texts"],
)
async def test_a_body_of_very_many_values_is_refused(gateway, worker, piece):
    body = b'{"model":"%b","messages":[%b1]}' % (worker.card.model.encode(), repeated(piece))
    async with watched() as gap:
        answer = await gateway.post(body)
    assert (answer.status, answer.error["code"]) == (400, "request_too_complex")
    assert "500,000" in answer.error["message"]
    assert gap.longest_s < LONGEST_GAP_S


async def test_a_large_body_is_answered(gateway, worker):
    noise = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(noise).save(png, "PNG", compress_level=0)
    url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    assert len(url) > 20 * MIB
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "word, " * 100_000}]
    body = chat(worker.card.model, *parts, schema={"maximum": 10**30})
    async with worker.serving(worker.echo), watched() as gap:
        answer = await gateway.post(body)
    assert answer.status == 200
    on = answer.json["echo"]
    [picture, text] = on["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("tessera-media:")
    assert text == parts[1]
    assert on["schema"] == {"maximum": 10**30}
    assert gap.longest_s < LONGEST_GAP_S


async def test_numbers_reach_the_engine_to_the_digit(gateway, worker):
    text = '{"model":"%s","messages":[{"role":"user","content":"x"}],"bound":123456789012345678901,"x":[1.0,1E2,-0.0]}'
    body = (text % worker.card.model).encode()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(body))
        lease = await worker.take()
        await worker.echo(lease)
    assert lease.job.body == body
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.post(body[:-1] + b',"stream":true}'))
        lease = await worker.take()
        await worker.echo(lease)
    assert sent(lease)["stream_options"] == {"include_usage": True}
    assert lease.job.body == b'{"stream_options":{"include_usage":true},' + body[1:-1] + b',"stream":true}'
