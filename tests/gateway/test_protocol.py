from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tessera.gateway import protocol
from tessera.queue import Data, End
from tests.gateway.raw import connected, parse_head, post
from tests.gateway.scripted import STREAM, USAGE, chat, event
from tests.polling import eventually

GET = "GET /livez HTTP/1.1\r\nHost: x\r\n"
CHAT = "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
DONE = Data(b"data: [DONE]\n\n")


async def refused(client):
    """The last thing that a connection hears."""
    answer = await client.answer()
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert await client.rest() == b""
    return answer


async def alive(client):
    """Whether the connection goes on."""
    client.send(GET, "\r\n")
    return (await client.answer()).status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: x\n\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA b: c\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_told_so_and_counted_and_logged(gateway, garbage, caplog):
    before = await gateway.metric("tessera_http_requests_refused_total", code="invalid_http")
    with capture_logs() as logs:
        async with connected(gateway.port) as client:
            client.send(garbage)
            answer = await refused(client)
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")
    assert await gateway.metric("tessera_http_requests_refused_total", code="invalid_http") == before + 1
    [line] = logs
    assert (line["event"], line["code"], line["client"]) == ("request_refused", "invalid_http", "127.0.0.1")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert not caplog.records


@pytest.mark.parametrize(
    "head",
    [
        GET + f"A: {'x' * 4_000_000}\r\n\r\n",
        GET + f"A: {'x' * 70_000}",
        GET + "A: b\r\n" * 100_000,
        GET + "A: b\r\n" * 200 + "\r\n",
        GET + f"{'A' * 70_000}: b\r\n\r\n",
        f"GET /{'x' * 70_000} HTTP/1.1\r\n\r\n",
        f"GET /{'x' * 4_000_000}",
    ],
    ids=["value", "endless value", "headers", "many small headers", "name", "target", "endless target"],
)
async def test_a_head_that_is_too_large_is_refused(gateway, head):
    async with connected(gateway.port) as client:
        client.send(head)
        answer = await refused(client)
    assert (answer.status, answer.error["code"]) == (431, "request_head_too_large")


async def test_a_head_within_the_limits_is_taken(gateway):
    async with connected(gateway.port) as client:
        client.send(GET, f"A: {'x' * 60_000}\r\n", "B: b\r\n" * 100, "\r\n")
        assert (await client.answer()).status == 200
        assert await alive(client)


@pytest.mark.parametrize("trailer", ["A: b\r\n" * 1000 + "\r\n", f"A: {'x' * 400_000}", f"A: {'x' * 400_000}\r\n"])
async def test_trailers_are_headers_too(gateway, worker, trailer):
    async with connected(gateway.port) as client:
        client.send(CHAT + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", trailer)
        answer = await refused(client)
    assert (answer.status, answer.error["code"]) == (431, "request_head_too_large")


async def test_a_body_that_is_not_chunked_as_it_says_is_an_error_of_the_request(gateway):
    before = await gateway.metric("tessera_requests_total", code="invalid_http", status="400")
    async with connected(gateway.port) as client:
        client.send(CHAT + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n")
        answer = await refused(client)
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")
    assert await gateway.metric("tessera_requests_total", code="invalid_http", status="400") == before + 1


class TestDeadlines:
    @pytest.fixture
    async def hasty(self, start_gateway, settings, worker):
        limits = {"head_timeout_s": 0.2, "body_gap_timeout_s": 0.2, "keep_alive_timeout_s": 0.2}
        return await start_gateway(settings.model_copy(update=limits))

    async def test_a_silent_connection_is_closed(self, hasty):
        async with connected(hasty.port) as client:
            assert await client.rest() == b""

    @pytest.mark.parametrize("head", ["GET /livez HT", GET, GET + "A: b"])
    async def test_half_a_head_is_answered(self, hasty, head):
        async with connected(hasty.port) as client:
            client.send(head)
            answer = await refused(client)
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")

    async def test_a_head_that_drips_is_answered(self, hasty):
        async with connected(hasty.port) as client:

            async def drip():
                while True:
                    client.send("A: b\r\n")
                    await asyncio.sleep(0.05)

            client.send(GET)
            dripping = asyncio.create_task(drip())
            assert (await client.answer()).status == 408
            dripping.cancel()

    async def test_half_a_body_is_answered_and_counted(self, hasty):
        before = await hasty.metric("tessera_requests_total", code="request_timeout", status="408")
        async with connected(hasty.port) as client:
            client.send(post({"model": "x"})[:-3])
            answer = await refused(client)
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await hasty.metric("tessera_requests_total", code="request_timeout", status="408") == before + 1

    @pytest.mark.parametrize(("piece", "every_s"), [(1, 0.05), (100_000, 0)])
    async def test_a_body_whose_request_is_answered_already_does_not_keep_the_connection(self, hasty, piece, every_s):
        async with connected(hasty.port) as client:
            client.send("POST /livez HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n")
            assert (await client.answer()).status == 405

            async def drip():
                while True:
                    client.send("x" * piece)
                    await asyncio.sleep(every_s)

            dripping = asyncio.create_task(drip())
            assert await client.rest() == b""
            dripping.cancel()

    async def test_an_idle_connection_is_closed_and_line_ends_are_no_request(self, hasty):
        for idle in ("", "\r\n"):
            async with connected(hasty.port) as client:
                assert await alive(client)
                client.send(idle)
                assert await client.rest() == b""

    async def test_a_request_that_is_being_answered_has_no_deadline(self, hasty, worker):
        async with connected(hasty.port) as client:
            client.send(post(chat(worker.card.model)))
            lease = await worker.take()
            async with connected(hasty.port) as silent:
                await silent.rest()  # the deadlines have passed meanwhile
            await worker.echo(lease)
            assert (await client.answer()).status == 200

    async def test_a_refused_client_that_stays_is_cut_off(self, hasty, monkeypatch):
        monkeypatch.setattr(protocol, "LINGER_S", 0.1)
        open_before = await hasty.metric("tessera_connections_open")

        async def forgotten():
            return await hasty.metric("tessera_connections_open") == open_before

        async with connected(hasty.port) as client:
            client.send(b"\x00\r\n\r\n")
            assert (await client.answer()).status == 400
            await eventually(forgotten, "the connection is closed, though its client never does")

    async def test_the_time_in_which_the_server_does_not_read_is_not_the_clients(self, hasty, worker):
        async with connected(hasty.port) as client:
            client.send(post(chat(worker.card.model)))
            lease = await worker.take()
            client.send(post(chat(worker.card.model, padding="x" * 3_000_000)))
            async with connected(hasty.port) as silent:
                await silent.rest()  # the deadlines have passed meanwhile
            await worker.echo(lease)
            assert (await client.answer()).status == 200
            await worker.echo(await worker.take())
            assert (await client.answer()).status == 200


class TestPipelining:
    async def test_requests_are_answered_in_their_order(self, gateway, worker):
        async with connected(gateway.port) as client:
            client.send(post(chat(worker.card.model)), GET, "\r\n")
            lease = await worker.take()
            await worker.echo(lease)
            assert "echo" in json.loads((await client.answer()).body)
            assert (await client.answer()).body == b"ok"
            assert await alive(client)

    @pytest.mark.parametrize("header", ["Accept: */*", "Expect: 100-continue"])
    async def test_garbage_behind_a_request_does_not_mix_with_its_answer(self, gateway, worker, header):
        async with connected(gateway.port) as client:
            client.send(post(chat(worker.card.model), header), b"\x00\x01\x02\r\n\r\n")
            lease = await worker.take()
            await worker.echo(lease)
            if header.startswith("Expect"):
                assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert "echo" in json.loads((await client.answer()).body)
            assert await client.rest() == b""


class TestOldClients:
    async def test_a_stream_ends_with_its_connection(self, gateway, worker):
        async with connected(gateway.port) as client:
            client.send(post(chat(worker.card.model, stream=True), "Expect: 100-continue", version="1.0"))
            lease = await worker.take()
            await worker.say(lease, STREAM, event("one"))
            status, headers = parse_head(await client.until(b"\r\n\r\n"))
            assert (status, headers["connection"]) == (200, "close")
            assert "transfer-encoding" not in headers
            assert "content-length" not in headers
            assert await client.until(b"\n\n") == event("one").body
            await worker.say(lease, event("two"), DONE, End(USAGE))
            assert await client.rest() == event("two").body + DONE.body

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_document_has_its_length(self, gateway, method):
        async with connected(gateway.port) as client:
            client.send(f"{method} /livez HTTP/1.0\r\n\r\n")
            _, headers = parse_head(await client.until(b"\r\n\r\n"))
            assert headers["content-length"] == "2"
            assert await client.rest() == (b"ok" if method == "GET" else b"")

    async def test_one_that_does_not_read_is_waited_for(self, gateway, worker):
        piece = Data(b"data: " + b"x" * 1_000_000 + b"\n\n")
        async with connected(gateway.port) as client:
            client.send(post(chat(worker.card.model, stream=True), version="1.0"))
            lease = await worker.take()
            await worker.say(lease, STREAM, *[piece] * 10)
            await client.until(b"\r\n\r\n")
            await worker.say(lease, DONE, End(USAGE))
            assert await client.rest() == piece.body * 10 + DONE.body


@pytest.mark.parametrize("other", ["h2c", "websocket"])
async def test_a_client_that_offers_another_protocol_is_answered_in_this_one(gateway, worker, other, caplog):
    """As the HTTP client of Java does with every first request."""
    offer = (f"Upgrade: {other}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk")
    async with worker.serving(worker.echo), connected(gateway.port) as client:
        for _ in range(2):
            request = post(chat(worker.card.model, question="?"), *offer)
            client.send(request[:-10])
            await asyncio.sleep(0)
            client.send(request[-10:])
            assert json.loads((await client.answer()).body)["echo"]["question"] == "?"
        client.send(GET, "\r\n".join(offer), "\r\n\r\n")
        assert (await client.answer()).status == 200
        assert await alive(client)
    assert not caplog.records


async def test_a_client_that_asks_first_may_send_its_body(gateway, worker):
    async with worker.serving(worker.echo), connected(gateway.port) as client:
        head, _, body = post(chat(worker.card.model), "Expect: 100-continue").partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert (await client.answer()).status == 200


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_forgotten(gateway):
    open_before = await gateway.metric("tessera_connections_open")
    for sent in (b"", GET.encode(), post({"model": "x"})[:-3]):
        async with connected(gateway.port) as client:
            client.send(sent)

    async def forgotten():
        return await gateway.metric("tessera_connections_open") == open_before

    await eventually(forgotten, "the connections are forgotten")
