"""How a body may be sent, seen from outside."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from itertools import accumulate, pairwise

import pytest
from backports import zstd
from starlette.requests import Request

from tessera.gateway.body import read_body
from tessera.gateway.body.room import BodyRoom
from tests.gateway.scripted import Answer, chat

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def small(start_gateway, settings, worker):
    """A gateway that takes bodies of at most 1,000 bytes."""
    return await start_gateway(settings.model_copy(update={"max_body_bytes": 1000}))


async def post(gateway, data, headers) -> Answer:
    """Exactly these headers: none is added by the client."""
    url = gateway.url + "/v1/chat/completions"
    options = {"skip_auto_headers": ["Content-Type"], "headers": headers}
    async with gateway.http.post(url, data=io.BytesIO(data), **options) as response:
        return Answer(response.status, response.headers, await response.read())


@pytest.mark.parametrize(
    "type_",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=latin-1; x=y",
        "application/vnd.api+json",
    ],
)
async def test_json_by_any_of_its_names(gateway, worker, type_):
    async with worker.serving(worker.echo):
        answer = await post(gateway, json.dumps(chat(worker.card.model)).encode(), {"Content-Type": type_})
    assert answer.status == 200


# What a web page may send anywhere without asking, and what else is no JSON.
@pytest.mark.parametrize(
    "type_",
    [
        None,
        "",
        "text/plain",
        "text/plain;application/json",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/jsonp",
        "text/json",
        "image/svg+json",
        "x" * 5000,
    ],
)
async def test_what_a_web_page_could_send_unasked_is_refused(gateway, worker, type_):
    headers = {} if type_ is None else {"Content-Type": type_}
    answer = await post(gateway, json.dumps(chat(worker.card.model)).encode(), headers)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert "`Content-Type: application/json`" in answer.error["message"]
    assert len(answer.body) < 500
    assert await worker.waiting() == 0


async def test_what_curl_sends_by_itself_is_named(gateway):
    answer = await post(gateway, b"{}", {"Content-Type": "application/x-www-form-urlencoded"})
    assert "curl's `-d`" in answer.error["message"]


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("gzip, identity", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstd.compress),
        ("identity", bytes),
        ("", bytes),
    ],
)
async def test_a_compressed_body_is_unpacked(gateway, worker, coding, pack):
    body = chat(worker.card.model, bound=10**30)
    async with worker.serving(worker.echo):
        answer = await post(gateway, pack(json.dumps(body).encode()), {**JSON, "Content-Encoding": coding})
    assert (answer.status, answer.json) == (200, {"echo": body})


@pytest.mark.parametrize("coding", ["br", "zstd, gzip", "gzip, gzip", "compress", "x" * 5000])
async def test_another_coding_is_refused_by_name(gateway, worker, coding):
    answer = await post(gateway, json.dumps(chat(worker.card.model)).encode(), {**JSON, "Content-Encoding": coding})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_encoding")
    assert coding[:64] in answer.error["message"]
    assert len(answer.body) < 500


async def test_damage_is_not_told_as_bad_json(gateway, worker):
    packed = gzip.compress(json.dumps(chat(worker.card.model)).encode())
    for damaged in (packed[:-9], packed[:30] + b"\xff" * 9, b"{}", b""):
        answer = await post(gateway, damaged, {**JSON, "Content-Encoding": "gzip"})
        assert (answer.status, answer.error["code"]) == (400, "damaged_content_encoding")
        assert "gzip" in answer.error["message"]


async def test_what_is_compressed_and_does_not_say_so_is_told(gateway):
    answer = await post(gateway, gzip.compress(b"{}"), JSON)
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    assert "`Content-Encoding: gzip`" in answer.error["message"]


async def test_the_limit_is_that_of_the_unpacked_body(small, worker):
    body = json.dumps(chat(worker.card.model)).encode()
    body += b" " * (1000 - len(body))
    async with worker.serving(worker.echo):
        assert (await post(small, gzip.compress(body), {**JSON, "Content-Encoding": "gzip"})).status == 200
    answer = await post(small, gzip.compress(body + b" "), {**JSON, "Content-Encoding": "gzip"})
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "1,000 bytes" in answer.error["message"]


async def test_what_is_declared_too_large_is_not_read(small):
    # The client sends less than it says: were it read, this would not end.
    answer = await post(small, b"x" * 10, {**JSON, "Content-Length": "1001"})
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    "sizes", [[], [5], [1] * 70_000, [70_000], [10, 70_000, 10], [70_000, 10, 70_000, 300_000, 1]], ids=len
)
async def test_pieces_of_any_size_become_the_body(sizes):
    sent = random.Random(1).randbytes(sum(sizes))
    ends = list(accumulate(sizes, initial=0))
    messages = [{"type": "http.request", "body": sent[a:b], "more_body": True} for a, b in pairwise(ends)]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    request = Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
    with BodyRoom(1 << 20, 1.0).enter() as share:
        assert await read_body(request, share, most_bytes=1 << 20, limit_s=60) == sent
        assert share.size == len(sent)
