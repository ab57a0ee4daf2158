"""A stream that one worker began and another goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.errors import MediaStoreUnavailable, QueueUnavailable
from tessera.queue import Broker, Data, End, Failure, Head, Lease
from tessera.settings import Settings
from tessera.telemetry.outage import Outage
from tessera.worker.journal import Journal
from tessera.worker.replay import Replay
from tessera.worker.steps import Step
from tessera.worker.transcript import Codec, current
from tessera.worker.writer import ReplyWriter
from tests.polling import eventually
from tests.worker.jobs import MODEL, leased, log_of, text_of
from tests.worker.plain_codec import PlainCodec

DONE = b"data: [DONE]\n\n"


class Killed(BaseException):
    """What ends a worker in the middle."""


class Telling:
    """An application that tells tokens: those that an earlier worker's engine gave, then its own."""

    def __init__(self, *tokens: str, created: int = 1, dies_after: int | None = None):
        self.tokens, self.created, self.dies_after = tokens, created, dies_after
        self.own: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(self._body(), media_type="text/event-stream")(scope, receive, send)

    async def _body(self) -> AsyncIterator[bytes]:
        transcript = current.get()
        assert transcript is not None
        given = [step.content.decode() for take in transcript.past("r") for step, _ in take]
        for n, token in enumerate([*given, *self.tokens[len(given) :]]):
            if n == self.dies_after:
                raise Killed
            if n >= len(given):
                self.own.append(token)
                transcript.take("r", [Step(0, False, token.encode())])
            yield f'data: {{"created":{self.created},"choices":[{{"index":0,"text":"{token}"}}]}}\n\n'.encode()
        yield DONE


@pytest.fixture
def writer(broker: Broker) -> ReplyWriter:
    return ReplyWriter(broker, MODEL, lambda _: None, Outage("out", "back"))


async def run(app: ASGIApp, lease: Lease, broker: Broker, writer: ReplyWriter, codec: Codec | None) -> None:
    try:
        await Replay(app, lease, writer, Journal(broker, codec), lambda: False).run()
    finally:
        await writer.drain()


async def begun(broker: Broker, writer: ReplyWriter, *, dies_after: int = 2) -> Lease:
    """The lease of the second worker."""
    lease = await leased(broker, stream=True)
    await writer.drain()
    app = Telling("a", "b", "c", "d", dies_after=dies_after)
    # Each piece is written before the next one comes, as with an engine.
    task = Replay(Paced(app, writer), lease, writer, Journal(broker, PlainCodec()), lambda: False)
    with pytest.raises(Killed):
        await task.run()
    await writer.drain()
    assert await broker.release(MODEL, [lease], failed=True) == 1
    [again] = await broker.lease(MODEL, "w2", free=100, capacity=100, most=1)
    return again


class Paced:
    """An application whose writes reach Redis one by one."""

    def __init__(self, app: ASGIApp, writer: ReplyWriter):
        self._app, self._writer = app, writer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def paced(message: dict[str, object]) -> None:
            await send(message)
            await self._writer.drain()

        await self._app(scope, receive, paced)


async def test_a_stream_goes_on_behind_its_last_token(broker: Broker, writer: ReplyWriter) -> None:
    lease = await begun(broker, writer)
    app = Telling("A", "B", "c", "d", created=9)
    await run(app, lease, broker, writer, PlainCodec())
    assert app.own == ["c", "d"], "what was made before came from the record"
    told = [f'data: {{"created":1,"choices":[{{"index":0,"text":"{t}"}}]}}\n\n'.encode() for t in "abcd"]
    assert await text_of(broker, lease.job) == b"".join([*told, DONE])
    log = await log_of(broker, lease.job)
    assert [type(entry) for entry in log if not isinstance(entry, Data)] == [Head, End]
    assert log[-1] == End(resumed=True, attempts=2)


async def test_a_stream_may_be_gone_on_with_more_than_once(broker: Broker, writer: ReplyWriter) -> None:
    lease = await begun(broker, writer, dies_after=1)
    second = Paced(Telling("A", "b", "c", "d", dies_after=3), writer)
    with pytest.raises(Killed):
        await run(second, lease, broker, writer, PlainCodec())
    assert await broker.release(MODEL, [lease], failed=True) == 1
    [third] = await broker.lease(MODEL, "w3", free=100, capacity=100, most=1)
    app = Telling("A", "B", "C", "d")
    await run(app, third, broker, writer, PlainCodec())
    assert app.own == ["d"]
    assert [t for t in "abcd" if f'"{t}"'.encode() in await text_of(broker, third.job)] == list("abcd")


async def test_a_stream_goes_on_behind_an_event_that_took_several_entries(broker: Broker, writer: ReplyWriter) -> None:
    large = "b" * 200_000
    lease = await leased(broker, stream=True)
    with pytest.raises(Killed):
        await run(Paced(Telling("a", large, "c", dies_after=2), writer), lease, broker, writer, PlainCodec())
    assert await broker.release(MODEL, [lease], failed=True) == 1
    [again] = await broker.lease(MODEL, "w2", free=100, capacity=100, most=1)
    assert again.written > 4
    app = Telling("A", "B", "c")
    await run(app, again, broker, writer, PlainCodec())
    assert app.own == ["c"]
    whole = await text_of(broker, again.job)
    assert [whole.count(f'"{t}"'.encode()) for t in ("a", large, "c")] == [1, 1, 1]


class Away(Broker):
    """Cannot be reached when a record is first asked for."""

    def __init__(self, broker: Broker, settings: Settings):
        super().__init__(broker._redis, settings)
        self.outages = 2

    async def recall(self, lease: Lease) -> tuple[list[bytes], list[bytes]]:
        self.outages -= 1
        if self.outages >= 0:
            raise QueueUnavailable("away")
        return await super().recall(lease)


async def test_a_stream_whose_record_cannot_be_read_yet_goes_on_once_it_can(
    broker: Broker, writer: ReplyWriter, settings: Settings
) -> None:
    lease = await begun(broker, writer)
    app = Telling("A", "B", "c", "d")
    await run(app, lease, Away(broker, settings), writer, PlainCodec())
    assert app.own == ["c", "d"]
    assert (await log_of(broker, lease.job))[-1] == End(resumed=True, attempts=2)


async def test_nobody_waits_for_the_record_of_a_job_that_is_not_wanted_any_more(
    broker: Broker, writer: ReplyWriter, settings: Settings
) -> None:
    lease = await begun(broker, writer)
    away = Away(broker, settings)
    away.outages = 1000
    replay = Replay(Telling(), lease, writer, Journal(away, PlainCodec()), lambda: False)
    running = asyncio.create_task(replay.run())
    await eventually(lambda: away.outages < 1000, "it asks")
    replay.abort()
    await asyncio.wait_for(running, 10)


async def failed(broker: Broker, lease: Lease) -> bool:
    last = (await log_of(broker, lease.job))[-1]
    return isinstance(last, Failure) and last.code == "stream_not_resumed"


class Forgetful(Telling):
    """Makes another stream of the same record, as a version with another parser would."""

    async def _body(self) -> AsyncIterator[bytes]:
        yield b'data: {"created":1,"choices":[{"index":0,"text":"x"}]}\n\n'


async def test_a_stream_that_comes_out_otherwise_ends_with_an_error(broker: Broker, writer: ReplyWriter) -> None:
    lease = await begun(broker, writer)
    await run(Forgetful(), lease, broker, writer, PlainCodec())
    assert await failed(broker, lease)
    assert b'"x"' not in await text_of(broker, lease.job)


async def test_a_worker_that_does_not_record_ends_it_with_an_error(broker: Broker, writer: ReplyWriter) -> None:
    lease = await begun(broker, writer)
    await run(Telling(), lease, broker, writer, None)
    assert await failed(broker, lease)


async def test_an_engine_that_refuses_the_request_now_ends_it_with_an_error(
    broker: Broker, writer: ReplyWriter
) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"error": {"message": "no"}}, 400)(scope, receive, send)

    lease = await begun(broker, writer)
    await run(refuse, lease, broker, writer, PlainCodec())
    assert await failed(broker, lease)


class Full(Telling):
    """Refuses what comes while the store of its media is away."""

    refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.refused += 1
        if self.refused <= 2:
            error = MediaStoreUnavailable("away")
            await JSONResponse(error.body(), error.status)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def test_a_stream_whose_media_cannot_be_read_yet_goes_on_once_they_can(
    broker: Broker, writer: ReplyWriter
) -> None:
    lease = await begun(broker, writer)
    app = Full("A", "B", "c", "d")
    await run(app, lease, broker, writer, PlainCodec())
    assert (app.refused, app.own) == (3, ["c", "d"])
    assert (await log_of(broker, lease.job))[-1] == End(resumed=True, attempts=2)


async def test_steps_that_cannot_be_read_end_it_with_an_error(broker: Broker, writer: ReplyWriter) -> None:
    class Newer(PlainCodec):
        def decode(self, content: bytes) -> object:
            raise ValueError("of another version")

    lease = await begun(broker, writer)
    await run(Telling(), lease, broker, writer, Newer())
    assert await failed(broker, lease)


async def test_an_answer_in_one_piece_is_made_again(broker: Broker, writer: ReplyWriter) -> None:
    async def document(scope: Scope, receive: Receive, send: Send) -> None:
        assert current.get() is None, "nothing of it is recorded"
        await JSONResponse({"usage": {}})(scope, receive, send)

    lease = await leased(broker)
    await run(document, lease, broker, writer, PlainCodec())
    assert (await log_of(broker, lease.job))[-1] == End()
