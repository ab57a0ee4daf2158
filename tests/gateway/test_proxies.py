"""Whose word is taken for where a client is, and what a gateway is behind nginx and HAProxy as they are documented."""

from __future__ import annotations

import asyncio
import io
import json

import aiohttp
import pydantic
import pytest
from structlog.testing import capture_logs

from tessera.queue import Data, End
from tessera.settings import Settings
from tests.gateway.proxies import PROXIES, proxy
from tests.gateway.raw import connected
from tests.gateway.scripted import STREAM, Gateway, chat, event
from tests.polling import eventually

# Linux has all of 127.0.0.0/8: a client that cannot be taken for the proxy beside it.
ELSEWHERE = "127.0.0.9"
KEY = {"Authorization": "Bearer sk-right"}


async def client_as_logged(gateway: Gateway, **headers: str) -> str:
    """What the log says of who sent a wrong key."""
    with capture_logs() as logs:
        async with gateway.http.get(gateway.url + "/v1/models", headers=headers) as response:
            assert response.status == 401
    [client] = [line["client"] for line in logs if line["event"] == "request_refused"]
    return str(client)


def forwarded(*clients: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(clients)}


async def test_nobody_is_believed_unless_somebody_says_so(start_gateway, settings):
    gateway = await start_gateway(settings.model_copy(update={"api_key": "sk-right"}))
    assert await client_as_logged(gateway, **forwarded("203.0.113.7")) == "127.0.0.1"


@pytest.mark.parametrize(
    ("trusted", "said", "client"),
    [
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.0/8, 127.0.0.0/8", ["203.0.113.7:4711"], "203.0.113.7"),
        ("127.0.0.0/8", ["[2001:db8::7]:4711"], "2001:db8::7"),
        # What the client says itself stands before what the first trusted proxy adds.
        ("127.0.0.0/8,10.0.0.0/8", ["198.51.100.1", "203.0.113.7", "10.1.2.3"], "203.0.113.7"),
        ("10.0.0.0/8", ["203.0.113.7"], "127.0.0.1"),
        ("127.0.0.0/8", [], "127.0.0.1"),
    ],
)
async def test_who_is_believed(start_gateway, settings, trusted, said, client):
    gateway = await start_gateway(settings.model_copy(update={"api_key": "sk-right", "trusted_proxies": trusted}))
    assert await client_as_logged(gateway, **(forwarded(*said) if said else {})) == client


async def test_a_client_that_reads_nothing_is_named_and_not_its_proxy(start_gateway, settings, worker):
    more = {"trusted_proxies": "127.0.0.1", "client_stall_s": 1.0}
    gateway = await start_gateway(settings.model_copy(update=more))
    async with connected(gateway.port, receive_bytes=4096) as client:
        body = json.dumps(chat(worker.card.model, stream=True)).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.send(head, f"X-Forwarded-For: 203.0.113.7\r\nContent-Length: {len(body)}\r\n\r\n", body)
        lease = await worker.take()
        with capture_logs() as logs:
            client.pause()
            await worker.say(lease, STREAM, *[Data(b"data: " + b"x" * 1_000_000 + b"\n\n")] * 15)

            def cut() -> bool:
                return any(line["event"] == "client_stalled" for line in logs)

            await eventually(cut, "it is cut off")
    [line] = [line for line in logs if line["event"] == "client_stalled"]
    assert line["client"] == "203.0.113.7"


@pytest.mark.parametrize("wrong", ["proxy.example", "*", "10.0.0.1/8", "10.0.0.0/8;10.1.0.1"])
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(pydantic.ValidationError, match="neither an address nor a network"):
        Settings(trusted_proxies=wrong)


# --- Behind real ones -------------------------------------------------------------------------------------------


@pytest.fixture(params=PROXIES)
async def behind(request, start_gateway, settings, worker, tmp_path):
    """The address of a proxy, and a client that is not where the proxy is."""
    gateway = await start_gateway(settings.model_copy(update={"api_key": "sk-right", "trusted_proxies": "127.0.0.1"}))
    async with proxy(request.param, gateway.port, tmp_path) as url:
        connector = aiohttp.TCPConnector(local_addr=(ELSEWHERE, 0))
        async with aiohttp.ClientSession(connector=connector, base_url=url, headers=KEY) as http:
            yield http


async def test_events_pass_one_by_one(behind, worker):
    body = chat(worker.card.model, stream=True)
    asked = asyncio.create_task(behind.post("/v1/chat/completions", json=body))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    async with await asked as response:
        assert await response.content.readuntil(b"\n\n") == event("one").body, "it came before there was a second"
        await worker.say(lease, event("two"), Data(b"data: [DONE]\n\n"), End())
        assert await response.content.read() == event("two").body + b"data: [DONE]\n\n"


async def test_a_client_that_leaves_cancels_its_job(behind, worker):
    asked = asyncio.create_task(behind.post("/v1/chat/completions", json=chat(worker.card.model, stream=True)))
    lease = await worker.take()
    await worker.say(lease, STREAM, event("one"))
    (await asked).close()
    await eventually(lambda: worker.cancelled(lease.job.id), "the job is cancelled")


async def test_large_bodies_pass(behind, worker):
    text = "x" * 5_000_000
    body = {"model": worker.card.model, "messages": [{"role": "user", "content": text}]}
    options = {"data": io.BytesIO(json.dumps(body).encode()), "headers": {"Content-Type": "application/json"}}
    async with worker.serving(worker.echo), behind.post("/v1/chat/completions", **options) as response:
        assert (await response.json())["echo"]["messages"] == body["messages"]


async def test_the_log_has_the_clients_address_whatever_the_client_says(behind, worker):
    with capture_logs() as logs:
        wrong = {"Authorization": "Bearer sk-wrong", **forwarded("198.51.100.1")}
        async with behind.get("/v1/models", headers=wrong) as response:
            assert response.status == 401
    assert [line["client"] for line in logs if line["event"] == "request_refused"] == [ELSEWHERE]


@pytest.mark.parametrize("path", ["/metrics", "/admin/v1/requests/x", "/readyz"])
async def test_what_is_not_for_clients_stays_within(behind, path):
    async with behind.get(path) as response:
        assert response.status == 404
