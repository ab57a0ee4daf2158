"""What is on the wire while a stream has nothing to say."""

from __future__ import annotations

import asyncio
import json
import random

import openai
import pytest

from tessera.gateway.direct import ShortWay
from tessera.gateway.wire import STREAM_HEAD, WAITING, Wire
from tessera.queue import Data, End, Failure, Head
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, chat, event
from tests.polling import eventually

PERIOD_S = 0.02
DONE = Data(b"data: [DONE]\n\n")
REFUSAL = b'{"error":{"message":"No.","type":"invalid_request_error","param":"n","code":"invalid_value"}}'


@pytest.fixture
async def gateway(start_gateway, settings, worker):
    return await start_gateway(settings.model_copy(update={"stream_heartbeat_s": PERIOD_S}))


def ask(gateway, worker, **fields):
    body = chat(worker.card.model, stream=True, **fields)
    return gateway.http.post(gateway.url + "/v1/chat/completions", json=body)


def counted(gateway, worker, **labels):
    return gateway.metric("tessera_requests_total", model=worker.card.model, **labels)


def first_tokens(gateway, worker):
    return gateway.metric("tessera_time_to_first_token_seconds_count", model=worker.card.model)


async def test_a_stream_that_waits_sends_its_head_and_then_comments(gateway, worker):
    async with ask(gateway, worker) as answer:  # nobody has taken the job
        assert (answer.status, answer.headers["Content-Type"]) == (200, STREAM.content_type)
        assert answer.headers["X-Accel-Buffering"] == "no"
        for _ in range(3):
            assert await answer.content.readuntil(b"\n\n") == WAITING
        assert await first_tokens(gateway, worker) == 0
        lease = await worker.take()
        assert lease.job.id.startswith(answer.headers["X-Request-Id"])
        await worker.say(lease, STREAM, event("one"))
        while (got := await answer.content.readuntil(b"\n\n")) == WAITING:
            pass
        assert got == event("one").body
        assert await first_tokens(gateway, worker) == 1
        assert await answer.content.readuntil(b"\n\n") == WAITING  # in a gap between events too
        await worker.say(lease, event("two"), DONE, End(USAGE))
        rest = (await answer.content.read()).replace(WAITING, b"")
    assert rest == event("two").body + DONE.body
    assert await counted(gateway, worker, status="200", code="") == 1
    assert await counted(gateway, worker) == 1


async def test_openais_client_does_not_see_the_comments(gateway, worker):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(**chat(worker.card.model, stream=True))
        lease = await worker.take()  # the head, and so a comment, is out
        await worker.say(lease, STREAM, event("one"), event("two"), DONE, End(USAGE))
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["one", "two"]


@pytest.mark.parametrize(
    ("entries", "status", "code"),
    [
        ([Failure("queue_timeout", "Too late.")], "503", "queue_timeout"),
        ([Head(400, "application/json"), Data(REFUSAL), End(error=(400, "invalid_value"))], "400", "invalid_value"),
        ([Head(400, "application/json"), Data(REFUSAL[:9]), Failure("worker_lost", "Gone.")], "503", "worker_lost"),
        ([End()], "500", "internal_error"),
    ],
    ids=["given up", "refused", "given up amid a refusal", "empty"],
)
async def test_what_fails_after_the_head_is_an_event_and_counted_as_what_it_is(gateway, worker, entries, status, code):
    async with ask(gateway, worker) as answer:
        await worker.say(await worker.take(), *entries)
        *comments, error, done, end = (await answer.content.read()).split(b"\n\n")
    assert set(comments) == {WAITING.strip()}
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == code
    assert (done, end) == (b"data: [DONE]", b"")
    assert await counted(gateway, worker, status=status, code=code) == 1
    assert await counted(gateway, worker) == 1
    assert await first_tokens(gateway, worker) == 0


async def test_a_document_that_comes_after_the_head_of_a_stream_is_its_only_event(gateway, worker):
    async with ask(gateway, worker) as answer:
        await worker.say(await worker.take(), DOCUMENT, Data(b'{\n"choices": []\r\n}'), End(USAGE))
        body = (await answer.content.read()).replace(WAITING, b"")
    assert body == b'data: {"choices": []}\n\n' + DONE.body


@pytest.mark.parametrize(("period_s", "stream"), [(0, True), (PERIOD_S, False)])
async def test_where_no_comments_are_sent_errors_keep_their_status(start_gateway, settings, worker, period_s, stream):
    limits = {"stream_heartbeat_s": period_s, "queue_timeout_s": 0.2, "lease_s": 0.2}
    gateway = await start_gateway(settings.model_copy(update=limits))
    answer = await gateway.post(chat(worker.card.model, stream=stream))
    assert (answer.status, answer.error["code"]) == (503, "queue_timeout")


async def test_what_is_refused_before_it_is_queued_keeps_its_status(gateway, worker):
    answer = await gateway.post(chat("unknown", stream=True))
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_a_client_that_leaves_while_it_waits_is_noticed(gateway, worker):
    answer = await ask(gateway, worker)
    lease = await worker.take()
    answer.close()
    await eventually(lambda: worker.cancelled(lease.job.id), "its job is cancelled")

    async def left():
        return await counted(gateway, worker, status="499", code="client_closed_request") == 1

    await eventually(left, "the metric says 499")


class Client:
    """Takes what is sent to it, at random speed."""

    def __init__(self):
        self.messages = []
        self.busy = False
        self.random = random.Random(7)

    async def send(self, message):
        assert not self.busy, "two writes at a time"
        self.busy = True
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0.001 * self.random.random())
        self.messages.append(message)
        self.busy = False

    @property
    def body(self):
        return b"".join(message["body"] for message in self.messages[1:])


async def test_comments_and_pieces_never_mix():
    client = Client()
    pieces = [b"data: %d\n\n" % i for i in range(200)]
    with Wire(client.send, ShortWay(client.send), heartbeat_s=0.001) as wire:
        for piece in pieces:
            await asyncio.sleep(0.004 * client.random.random())
            await wire.write(STREAM_HEAD, piece, more=piece != pieces[-1])
    starts = [message["type"] == "http.response.start" for message in client.messages]
    assert starts == [True] + [False] * (len(starts) - 1)
    assert WAITING in client.body
    assert client.body.replace(WAITING, b"") == b"".join(pieces)
    assert [message["more_body"] for message in client.messages[1:]] == [True] * (len(starts) - 2) + [False]


async def test_a_client_that_does_not_take_a_comment_gets_no_more_of_them():
    taken = asyncio.Event()
    sent = []

    async def send(message):
        sent.append(message)
        await taken.wait()

    with Wire(send, ShortWay(send), heartbeat_s=0.001) as wire:
        await eventually(lambda: sent, "the head is sent")
        waiting = asyncio.create_task(wire.write(STREAM_HEAD, b"data: x\n\n", more=False))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        assert len(sent) == 1
        taken.set()
        await waiting
    assert [message.get("body") for message in sent] == [None, WAITING, b"data: x\n\n"]
