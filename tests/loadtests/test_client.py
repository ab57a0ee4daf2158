from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

from loadtests import client
from loadtests.client import Connection
from loadtests.response import BadAnswer, Response
from loadtests.round import run_round

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


def usage(tokens: int) -> bytes:
    return b'data: {"choices":[],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":%d}}\n\n' % tokens


DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
STREAM = [HEAD, *map(chunk, (event(""), event("a"), event("b") + event("c"), usage(3), DONE)), LAST_CHUNK]


class Answers:
    """A raw server: reads a request's head and body, then lets the test's function write whatever it likes."""

    def __init__(self, answer: Callable[[asyncio.StreamWriter], object]):
        self._answer = answer
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                await reader.readexactly(len(REQUEST))
                self.requests += 1
                if asyncio.iscoroutine(pending := self._answer(writer)):
                    await pending
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer):
    answers = Answers(answer)
    server = await asyncio.start_server(answers.serve, "127.0.0.1", 0)
    async with server:
        yield answers, server.sockets[0].getsockname()[1]


async def ask(answer, tokens: int = 3, times: int = 1):
    async with serving(answer) as (_, port):
        with await Connection.open("127.0.0.1", port) as connection:
            return [await connection.exchange(REQUEST, tokens) for _ in range(times)][-1]


async def pieces(writer: asyncio.StreamWriter, raw: bytes, size: int) -> None:
    """Write ``size`` bytes at a time, and let the client read each."""
    for at in range(0, len(raw), size):
        writer.write(raw[at : at + size])
        await writer.drain()
        await asyncio.sleep(0)


async def test_a_stream():
    answer = await ask(lambda writer: writer.writelines(STREAM))
    assert (answer.tokens, answer.events) == (3, 3)
    assert answer.ttft_s > 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
async def test_a_stream_in_pieces_of_any_size(size):
    answer = await ask(lambda writer: pieces(writer, b"".join(STREAM), size))
    assert (answer.tokens, answer.events) == (3, 3)


async def test_the_connection_is_kept():
    async with serving(lambda writer: writer.writelines(STREAM)) as (answers, port):
        with await Connection.open("127.0.0.1", port) as connection:
            for _ in range(3):
                await connection.exchange(REQUEST, 3)
        assert answers.requests == 3


def test_the_first_token_is_the_first_text_and_not_the_role():
    response, text = Response(), chunk(event("a"))
    response.feed(HEAD + chunk(event("")))
    before_the_text = text.index(b'a"')
    response.feed(text[:before_the_text])
    assert not response.has_content
    response.feed(text[before_the_text:])
    assert response.has_content
    assert not response.complete


async def test_time_to_first_token_ends_with_the_first_text():
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.writelines(STREAM[:3])
        await writer.drain()
        await go_on.wait()
        writer.writelines(STREAM[3:])

    async with serving(answer) as (_, port):
        with await Connection.open("127.0.0.1", port) as connection:
            began_s = time.perf_counter()
            asking = asyncio.create_task(connection.exchange(REQUEST, 3))
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            answered = await asking
    # The rest came 50 ms later at the earliest; however slow the machine is, it was not waited for.
    assert answered.ended_s - began_s >= 0.05
    assert answered.ttft_s < answered.ended_s - began_s


async def test_a_head_that_comes_slowly():
    async def answer(writer: asyncio.StreamWriter) -> None:
        await pieces(writer, HEAD, 1)
        writer.writelines(STREAM[1:])

    assert (await ask(answer)).events == 3


async def test_text_that_looks_like_the_end_of_the_stream():
    text = r"\r\n0\r\n\r\n data: [DONE]"
    body = [HEAD, chunk(event(text)), chunk(usage(1)), chunk(DONE), LAST_CHUNK]
    assert (await ask(lambda writer: writer.writelines(body), tokens=1)).events == 1


async def test_an_error_status_with_its_reason():
    body = b'{"error": {"message": "no such model"}}'
    raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with pytest.raises(BadAnswer, match=r"status 404: .*no such model"):
        await ask(lambda writer: writer.write(raw))


async def test_an_error_status_in_chunks():
    raw = HEAD.replace(b"200 OK", b"500 Oops") + chunk(b"broken") + LAST_CHUNK
    with pytest.raises(BadAnswer, match="status 500: broken"):
        await ask(lambda writer: writer.write(raw))


@pytest.mark.parametrize("kept", range(1, len(STREAM)))
async def test_a_connection_that_closes_in_the_middle(kept):
    def answer(writer: asyncio.StreamWriter) -> None:
        writer.writelines(STREAM[:kept])
        writer.close()

    with pytest.raises(BadAnswer, match="in the middle of the answer"):
        await ask(answer)


async def test_a_connection_that_closes_before_the_answer():
    with pytest.raises(BadAnswer, match="closed before the"):
        await ask(lambda writer: writer.close(), times=2)


async def test_a_silent_server(monkeypatch):
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.05)
    with pytest.raises(BadAnswer, match=r"within 0\.05 s"):
        await ask(lambda writer: None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([event("a"), usage(3)], "without \\[DONE\\]"),
        ([event("a"), b'data: {"error": {"message": "died"}}\n\n'], "died"),
        ([event("a"), usage(2), DONE], "2 output tokens reported instead of 3"),
        ([event("a"), usage(30), DONE], "30 output tokens reported instead of 3"),
        ([event("a"), DONE], "no output tokens reported"),
        ([event(""), usage(3), DONE], "without text"),
        ([], "without \\[DONE\\]"),
    ],
)
async def test_a_stream_that_is_not_what_was_asked_for(body, reason):
    raw = HEAD + b"".join(map(chunk, body)) + LAST_CHUNK
    with pytest.raises(BadAnswer, match=reason):
        await ask(lambda writer: writer.write(raw))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "neither chunked nor with a length"),
        (HEAD + b"5\r\ntoo long for five\r\n0\r\n\r\n", "a chunk is longer"),
        (HEAD + b"zz\r\nwhat\r\n0\r\n\r\n", "broken chunks"),
    ],
)
async def test_bytes_that_are_no_response(raw, reason):
    with pytest.raises(BadAnswer, match=reason):
        await ask(lambda writer: writer.write(raw))


async def test_a_round_counts_answers_until_its_requests_are_used_up():
    async with serving(lambda writer: writer.writelines(STREAM)) as (answers, port):
        done = await run_round("127.0.0.1", port, [REQUEST] * 50, tokens=3, streams=4, seconds=30)
    assert answers.requests == 50
    assert done.drained
    assert not done.errors
    assert done.window_s < 30
    assert "client" in done.cpu_s


async def test_a_round_reports_errors_and_ends():
    raw = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    async with serving(lambda writer: writer.write(raw)) as (answers, port):
        done = await run_round("127.0.0.1", port, [REQUEST] * 50, tokens=3, streams=4, seconds=30)
    assert done.errors == {"status 503: busy": 4}
    assert answers.requests == 4
    assert not done.answers


async def test_a_round_where_nobody_listens():
    async with serving(lambda writer: None) as (_, port):
        pass
    done = await run_round("127.0.0.1", port, [REQUEST] * 50, tokens=3, streams=2, seconds=30)
    assert sum(done.errors.values()) == 2
