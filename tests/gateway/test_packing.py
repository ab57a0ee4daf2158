from __future__ import annotations

import gzip

import pytest

from tessera.gateway.packing import takes_gzip
from tessera.queue import Data, End
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, event

NUMBERS = b'{"data":[' + b",".join(b"%.9f" % (i / 7) for i in range(20_000)) + b"]}"
GZIP = {"Accept-Encoding": "gzip"}


async def ask(gateway, worker, headers, *entries):
    async def answer(lease):
        await worker.say(lease, *entries, End(USAGE))

    async with worker.serving(answer):
        body = {"model": worker.card.model, "prompt": "x", "stream": entries[0] is STREAM}
        options = {"headers": headers, "auto_decompress": False, "skip_auto_headers": ["Accept-Encoding"]}
        async with gateway.http.post(gateway.url + "/v1/completions", json=body, **options) as response:
            return response.headers, await response.read()


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP", "deflate, gzip;q=0.5"])
async def test_a_large_document_is_compressed_for_who_takes_it(gateway, worker, accepted):
    headers, body = await ask(gateway, worker, {"Accept-Encoding": accepted}, DOCUMENT, Data(NUMBERS))
    assert (headers["Content-Encoding"], headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"] == "application/json"
    assert len(body) < 0.6 * len(NUMBERS)
    assert gzip.decompress(body) == NUMBERS


@pytest.mark.parametrize(
    ("headers", "entries"),
    [
        ({}, (DOCUMENT, Data(NUMBERS))),
        ({"Accept-Encoding": "br, deflate"}, (DOCUMENT, Data(NUMBERS))),
        ({"Accept-Encoding": "gzip;q=0"}, (DOCUMENT, Data(NUMBERS))),
        (GZIP, (DOCUMENT, Data(NUMBERS[:1000]))),
        (GZIP, (STREAM, event("x" * 200_000), Data(b"data: [DONE]\n\n"))),
    ],
)
async def test_what_goes_out_as_it_is(gateway, worker, headers, entries):
    told, body = await ask(gateway, worker, headers, *entries)
    assert "Content-Encoding" not in told
    assert body == b"".join(entry.body for entry in entries[1:])


async def test_it_can_be_switched_off(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"gzip_answers_bytes": 0}))
    assert (await ask(gateway, worker, GZIP, DOCUMENT, Data(NUMBERS)))[1] == NUMBERS


def test_several_headers_say_what_one_would():
    assert takes_gzip({"headers": [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]})
