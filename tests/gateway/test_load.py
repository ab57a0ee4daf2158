from __future__ import annotations

import asyncio
import json

from tessera.queue import Data, End
from tests.gateway.raw import post
from tests.gateway.scripted import STREAM, USAGE, chat, event, sent
from tests.polling import eventually

STREAMS = 200
TOKENS = 20


async def test_many_streams_get_their_own_tokens_each(gateway, worker):
    async def answer(lease):
        who = sent(lease)["who"]
        for i in range(TOKENS):
            entries = [STREAM] if i == 0 else []
            await worker.say(lease, *entries, event(f"{who}.{i} "))
        await worker.say(lease, Data(b"data: [DONE]\n\n"), End(USAGE))

    async def ask(who):
        answer = await gateway.post(chat(worker.card.model, stream=True, who=who))
        *events, done, _ = answer.body.split(b"\n\n")
        assert done == b"data: [DONE]"
        return "".join(json.loads(e.removeprefix(b"data: "))["choices"][0]["delta"]["content"] for e in events)

    async with worker.serving(answer):
        told = await asyncio.gather(*map(ask, range(STREAMS)))
    assert told == ["".join(f"{who}.{i} " for i in range(TOKENS)) for who in range(STREAMS)]
    assert gateway.open_streams == 0
    assert await gateway.metric("tessera_requests_open") == 0
    assert await gateway.metric("tessera_requests_total", model=worker.card.model, status="200") == STREAMS


async def test_a_client_that_does_not_read_holds_up_nobody(gateway, worker):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
    writer.write(post(chat(worker.card.model, stream=True)))
    lease = await worker.take()
    # More than the sockets' buffers hold, which the client does not empty.
    piece = Data(b"data: " + b"x" * 1_000_000 + b"\n\n")
    await worker.say(lease, STREAM, piece)
    for _ in range(15):
        await worker.say(lease, piece)

    async with worker.serving(worker.echo):
        assert (await gateway.post(chat(worker.card.model))).status == 200
    assert gateway.open_streams == 1
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: worker.cancelled(lease.job.id), "its job is cancelled when it goes")
    assert reader is not None
