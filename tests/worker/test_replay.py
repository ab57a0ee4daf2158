from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from tessera.queue import Append, Broker, Data, End, Failure, Head, Lease
from tessera.telemetry.outage import Outage
from tessera.worker.journal import Journal
from tessera.worker.replay import EngineDead, Replay
from tessera.worker.writer import ReplyWriter
from tests.polling import eventually
from tests.queue.corner import depth_of
from tests.worker.jobs import MODEL, leased, log_of, text_of

DONE = b"data: [DONE]\n\n"
# Without its prompt, which more would be said of: see test_usage.
USAGE = {"completion_tokens": 2, "total_tokens": 5}
USAGE_EVENT = b'data: {"id":"x","choices":[],"usage":{"completion_tokens":2,"total_tokens":5}}\n\n'
STREAM = "text/event-stream; charset=utf-8"

Handler = Callable[[Request], Response]


def application(handler: Handler) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(Request(scope, receive))(scope, receive, send)

    return app


def events(*pieces: bytes) -> ASGIApp:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return application(lambda _: StreamingResponse(body(), media_type="text/event-stream"))


@pytest.fixture
def writer(broker: Broker) -> ReplyWriter:
    return ReplyWriter(broker, MODEL, lambda _: None, Outage("lost", "back"))


async def run(app: ASGIApp, lease: Lease, writer: ReplyWriter, *, dead: Callable[[], bool] = lambda: False) -> None:
    await Replay(app, lease, writer, Journal(writer._logs, None), dead).run()
    await writer.drain()


async def test_a_stream(broker: Broker, writer: ReplyWriter) -> None:
    lease = await leased(broker)
    await run(events(b"data: 1\n\n", b"data: [DONE]\n\n"), lease, writer)
    head, *data, end = await log_of(broker, lease.job)
    assert head == Head(200, STREAM, lease.wait_ms, lease.attempts)
    assert b"".join(e.body for e in data if isinstance(e, Data)) == b"data: 1\n\ndata: [DONE]\n\n"
    assert end == End()


async def test_a_document_and_its_usage(broker: Broker, writer: ReplyWriter) -> None:
    lease = await leased(broker)
    await run(application(lambda _: JSONResponse({"usage": USAGE}, 201)), lease, writer)
    head, _, end = await log_of(broker, lease.job)
    assert head == Head(201, "application/json", lease.wait_ms, 1)
    assert end == End(USAGE)


async def test_the_client_hears_when_to_send_again_and_nothing_else_of_the_headers(
    broker: Broker, writer: ReplyWriter
) -> None:
    told = {"retry-after": "7", "x-should-retry": "false"}
    lease = await leased(broker)
    await run(application(lambda _: JSONResponse({}, headers={**told, "x-internal": "1"})), lease, writer)
    head, *_ = await log_of(broker, lease.job)
    assert isinstance(head, Head)
    assert head.headers == told


@pytest.mark.parametrize("body", [b"no json", b"[1]", b'{"usage": 7}', b"{}"])
async def test_a_document_without_usage(broker: Broker, writer: ReplyWriter, body: bytes) -> None:
    lease = await leased(broker)
    await run(application(lambda _: Response(body, 201)), lease, writer)
    assert (await log_of(broker, lease.job))[1:] == [Data(body), End()]


async def test_an_answer_without_a_body_has_a_head(broker: Broker, writer: ReplyWriter) -> None:
    lease = await leased(broker)
    await run(application(lambda _: Response(status_code=204)), lease, writer)
    head, end = await log_of(broker, lease.job)
    assert isinstance(head, Head)
    assert head.status == 204
    assert end == End()


@pytest.mark.parametrize("hide", [False, True])
async def test_the_usage_event_is_kept_or_hidden_and_read(broker: Broker, writer: ReplyWriter, hide: bool) -> None:
    lease = await leased(broker, hide_usage=hide)
    quoted = b'data: {"choices":[{"text":"\\"choices\\":[]"}]}\n\n'
    await run(events(quoted, USAGE_EVENT, b"data: [DONE]\n\n"), lease, writer)
    _, *data, end = await log_of(broker, lease.job)
    text = b"".join(e.body for e in data if isinstance(e, Data))
    assert text == quoted + (b"" if hide else USAGE_EVENT) + b"data: [DONE]\n\n"
    assert end == End(USAGE)


REFUSAL = (
    b'{"error": {"message": "Token id 9 is out of vocabulary", "type": "BadRequestError", "param": null, "code": 400}}'
)
REFUSED = {
    "error": {
        "message": "Token id 9 is out of vocabulary",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_value",
    }
}


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_error_before_the_first_token_is_a_status(broker: Broker, writer: ReplyWriter, streamed: bool) -> None:
    lease = await leased(broker)
    if streamed:
        app = events(b"data: " + REFUSAL + b"\n\n", b"data: [DONE]\n\n")
    else:
        app = application(lambda _: Response(REFUSAL, 400, media_type="application/json"))
    await run(app, lease, writer)
    head, body, end = await log_of(broker, lease.job)
    assert head == Head(400, "application/json", lease.wait_ms, lease.attempts)
    assert isinstance(body, Data)
    assert orjson.loads(body.body) == REFUSED
    assert end == End(error=(400, "invalid_value"))


async def test_an_error_after_the_first_token_is_an_event_and_told_at_the_end(
    broker: Broker, writer: ReplyWriter
) -> None:
    lease = await leased(broker)
    failure = REFUSAL.replace(b"400", b"500")
    with capture_logs() as logs:
        await run(events(b'data: {"choices":[{}]}\n\n', b"data: " + failure + b"\n\n", DONE), lease, writer)
    head, *_, end = await log_of(broker, lease.job)
    assert head == Head(200, STREAM, lease.wait_ms, lease.attempts)
    assert (await text_of(broker, lease.job)).endswith(b'"code":"engine_error"}}\n\n' + DONE)
    assert end == End(error=(500, "engine_error"))
    [line] = [line for line in logs if line["event"] == "engine_failed"]
    assert (line["job"], line["log_level"]) == (lease.job.id, "warning")


async def test_events_of_a_stream_with_an_errors_status_are_no_answer(broker: Broker, writer: ReplyWriter) -> None:
    app = application(lambda _: Response(b"data: {}\n\n", 503, media_type="text/event-stream"))
    lease = await leased(broker)
    await run(app, lease, writer)
    head, _, end = await log_of(broker, lease.job)
    assert isinstance(head, Head)
    assert (head.status, head.content_type, head.headers) == (503, "application/json", {"retry-after": "1"})
    assert end == End(error=(503, "engine_busy"))


@pytest.mark.parametrize("writes", [[], [b": keep-alive\n\n"], [b"data: [DONE]\n\n"]])
async def test_a_stream_without_an_event_is_a_failure(broker: Broker, writer: ReplyWriter, writes: list[bytes]) -> None:
    lease = await leased(broker)
    await run(events(*writes), lease, writer)
    [failure] = await log_of(broker, lease.job)
    assert isinstance(failure, Failure)
    assert failure.code == "internal_error"


async def test_the_last_chunk_has_the_engines_fingerprint_where_the_usage_is_hidden(
    broker: Broker, writer: ReplyWriter
) -> None:
    lease = await leased(broker, hide_usage=True)
    app = events(b'data: {"choices":[{"finish_reason":"stop"}]}\n\n', USAGE_EVENT)
    await Replay(app, lease, writer, Journal(writer._logs, None), lambda: False, fingerprint="f").run()
    await writer.drain()
    expected = b'data: {"choices":[{"finish_reason":"stop"}],"system_fingerprint":"f"}\n\n'
    assert await text_of(broker, lease.job) == expected


async def test_the_application_sees_the_request(broker: Broker, writer: ReplyWriter) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        seen = {"path": request.url.path, "method": request.method, "id": request.headers["x-request-id"]}
        await JSONResponse({"body": await request.json(), **seen})(scope, receive, send)

    lease = await leased(broker, body={"prompt": "ä"})
    await run(app, lease, writer)
    _, document, _ = await log_of(broker, lease.job)
    assert isinstance(document, Data)
    assert (
        Response(document.body).body
        == JSONResponse({"body": {"prompt": "ä"}, "path": "/v1/completions", "method": "POST", "id": lease.job.id}).body
    )


async def test_the_head_is_written_with_the_first_bytes(broker: Broker, writer: ReplyWriter) -> None:
    """A log that exists means a reply that has begun, which no other worker may answer."""
    started, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        started.set()
        await go.wait()
        await send({"type": "http.response.body", "body": b"x"})

    lease = await leased(broker)
    running = asyncio.create_task(run(app, lease, writer))
    await started.wait()
    await writer.drain()
    assert await log_of(broker, lease.job) == []
    go.set()
    await running
    assert [type(e) for e in await log_of(broker, lease.job)] == [Head, Data, End]


async def test_the_last_event_is_written_with_the_end(
    broker: Broker, writer: ReplyWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client leaves when it has read `[DONE]`; with the end still to come, it would seem to have left too early."""
    written: list[list[bytes]] = []
    append = broker.append

    async def spy(model: str, appends: Iterable[Append]) -> list[str]:
        written.extend(list(a.entries) for a in appends)
        return await append(model, appends)

    monkeypatch.setattr(broker, "append", spy)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: {}\n\n"
        await writer.drain()
        yield b"data: [DONE]\n\n"
        await writer.drain()

    app = application(lambda _: StreamingResponse(pieces(), media_type="text/event-stream"))
    await run(app, await leased(broker), writer)
    assert [raw[:1] for raw in written[0]] == [b"h", b"d"]
    assert written[1:] == [[b"ddata: [DONE]\n\n", End().encode()]]


async def test_an_answer_that_is_not_streamed_begins_when_it_is_complete(broker: Broker, writer: ReplyWriter) -> None:
    half = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        half.set()
        await asyncio.Event().wait()

    lease = await leased(broker)
    running = asyncio.create_task(run(app, lease, writer))
    await half.wait()
    await writer.drain()
    assert await log_of(broker, lease.job) == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("when", ["before its start", "after its start", "in the middle"])
async def test_an_application_that_fails(broker: Broker, writer: ReplyWriter, when: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if when != "before its start":
            streamed = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": streamed})
        if when == "in the middle":
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        raise RuntimeError("a bug")

    lease = await leased(broker)
    await run(app, lease, writer)
    *begun, failure = await log_of(broker, lease.job)
    assert [type(e) for e in begun] == ([Head, Data] if when == "in the middle" else [])
    assert isinstance(failure, Failure)
    assert failure.code == "internal_error"
    assert "a bug" not in failure.message
    assert await depth_of(broker, MODEL) == (0, 0)


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_abort_reaches_the_application_at_once(broker: Broker, writer: ReplyWriter, streaming: bool) -> None:
    begun, dropped = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            dropped.set()

    async def documents(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        dropped.set()

    stream = application(lambda _: StreamingResponse(body(), media_type="text/event-stream"))
    lease = await leased(broker)
    replay = Replay(stream if streaming else documents, lease, writer, Journal(writer._logs, None), lambda: False)
    running = asyncio.create_task(replay.run())
    await begun.wait()
    await writer.drain()
    before = await log_of(broker, lease.job)
    replay.abort()
    await asyncio.wait_for(running, 5)
    assert dropped.is_set()
    await writer.drain()
    assert await log_of(broker, lease.job) == before


async def test_nothing_is_written_once_the_engine_is_dead(broker: Broker, writer: ReplyWriter) -> None:
    dead = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal dead
        yield b"data: 1\n\n"
        await eventually(lambda: not writer._changed and writer._flusher is None, "the first is written")
        dead = True
        yield b'data: {"error": "the engine died"}\n\n'
        yield b"data: [DONE]\n\n"

    lease = await leased(broker)
    app = application(lambda _: StreamingResponse(body(), media_type="text/event-stream"))
    with pytest.raises(EngineDead):
        await run(app, lease, writer, dead=lambda: dead)
    await writer.drain()
    assert [type(e) for e in await log_of(broker, lease.job)] == [Head, Data]


async def test_an_error_answer_of_a_dead_engine_is_not_the_answer(broker: Broker, writer: ReplyWriter) -> None:
    lease = await leased(broker)
    with pytest.raises(EngineDead):
        await run(application(lambda _: JSONResponse({}, 500)), lease, writer, dead=lambda: True)
    await writer.drain()
    assert await log_of(broker, lease.job) == []


async def test_an_answer_that_was_complete_before_the_engine_died_counts(broker: Broker, writer: ReplyWriter) -> None:
    dead = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal dead
        await JSONResponse({"usage": USAGE})(scope, receive, send)
        dead = True

    lease = await leased(broker)
    await run(app, lease, writer, dead=lambda: dead)
    assert (await log_of(broker, lease.job))[-1] == End(USAGE)


async def test_a_cancelled_replay_drops_what_is_not_written(broker: Broker, writer: ReplyWriter) -> None:
    lease = await leased(broker)
    running = asyncio.create_task(Replay(_never, lease, writer, Journal(writer._logs, None), lambda: False).run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await writer.write(lease.job.id, b"dlate")
    await writer.drain()
    assert await log_of(broker, lease.job) == []


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()
