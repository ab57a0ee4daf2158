"""API keys: who gets in, and that what belongs to one tenant is not there for another."""

from __future__ import annotations

import asyncio
import re

import openai
import pytest
import yarl
from starlette.routing import Route
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tessera.errors import InvalidAPIKey
from tessera.gateway import server
from tessera.gateway.authentication import is_administration
from tessera.gateway.endpoints import ENDPOINTS
from tessera.queue import Data, End
from tessera.settings import Settings
from tests.gateway.raw import connected
from tests.gateway.scripted import DOCUMENT, USAGE, chat
from tests.polling import eventually

ALICE, BOB = "sk-alice", "sk-bob"
OPEN = {"/livez", "/readyz", "/health", "/ping", "/metrics", "/sd/workers"}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def locked(settings, tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"alice {ALICE}\nbob {BOB}\n")
    return settings.model_copy(update={"api_keys_file": path})


@pytest.fixture
async def gateway(start_gateway, locked, worker):
    return await start_gateway(locked)


async def ask(gateway, method, path, headers=()):
    async with gateway.http.request(method, gateway.url + path, headers=dict(headers)) as response:
        return response.status, await response.read(), response.headers


async def test_only_the_open_routes_answer_without_a_key(gateway):
    routes = [route for route in gateway.app.routes if isinstance(route, Route)]
    assert len(routes) > 10
    assert {endpoint.path for endpoint in ENDPOINTS} <= {route.path for route in routes}
    answered = set()
    for route in routes:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods:
            status, _, headers = await ask(gateway, method, path)
            if status == 401:
                assert headers["WWW-Authenticate"] == "Bearer"
            elif is_administration(path):
                assert status == 403, "there is no key for it"
            else:
                answered.add(path)
    assert answered == OPEN


@pytest.mark.parametrize("path", ["/", "/nothing", "/livez/", "/LIVEZ", "//livez", "/livez%0A", "/v1/../livez", "/v2"])
async def test_without_a_key_nobody_learns_what_there_is(gateway, path):
    async with gateway.http.get(yarl.URL(gateway.url + path, encoded=True)) as response:
        assert response.status == 401


async def test_metrics_with_a_key(start_gateway, locked, worker):
    gateway = await start_gateway(locked.model_copy(update={"metrics_auth": True}))
    assert (await ask(gateway, "GET", "/metrics"))[0] == 401
    assert (await ask(gateway, "GET", "/metrics", bearer(ALICE)))[0] == 200
    assert (await ask(gateway, "GET", "/livez"))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        bearer(ALICE),
        {"authorization": f"bearer   {ALICE} "},
        {"X-API-Key": ALICE},
        {"Authorization": "Basic eDp5", "x-api-key": ALICE},
        {**bearer(ALICE), "x-api-key": ALICE},
    ],
)
async def test_spellings_of_a_key(gateway, headers):
    assert (await ask(gateway, "GET", "/v1/models", headers))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ALICE},
        {"Authorization": f"Basic {ALICE}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        bearer(""),
        bearer("alice"),
        bearer(ALICE[:-1]),
        bearer(ALICE + "x"),
        bearer(f"{ALICE} {ALICE}"),
        bearer("k" * 20_000),
        {"x-api-key": "é".encode().decode("latin-1")},
        {**bearer(ALICE), "x-api-key": BOB},
        {**bearer("sk-wrong"), "x-api-key": BOB},
        {"Api-Key": ALICE},
        {"Cookie": f"Authorization=Bearer {ALICE}"},
    ],
)
async def test_what_is_no_valid_key(gateway, headers):
    async with gateway.http.get(gateway.url + "/v1/models", headers=headers) as response:
        assert response.status == 401
        error = (await response.json())["error"]
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
        assert ALICE not in error["message"]
        assert response.headers["X-Request-Id"]


async def test_two_headers_of_the_same_name(gateway):
    for other, status in ((ALICE, 200), (BOB, 401), ("sk-wrong", 401)):
        lines = [f"Authorization: Bearer {key}" for key in (ALICE, other)]
        async with connected(gateway.port) as client:
            client.send("\r\n".join(["GET /v1/models HTTP/1.1", "Host: x", *lines, "", ""]))
            assert (await client.answer()).status == status


async def test_a_body_without_a_key_is_not_waited_for(gateway):
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: x", "Content-Type: application/json"]
    async with connected(gateway.port) as client:
        client.send("\r\n".join([*head, "Content-Length: 60000000", "Expect: 100-continue", "", ""]))
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert await gateway.metric("tessera_http_requests_refused_total", code="invalid_api_key") > 0


async def test_openais_client(gateway, worker):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=BOB, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == [worker.card.model]
        stranger = client.with_options(api_key="sk-stranger")
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.models.list()
    assert refused.value.code == InvalidAPIKey.code


async def test_a_web_page_asks_whether_it_may_without_a_key(start_gateway, locked, worker):
    page = "https://app.example"
    gateway = await start_gateway(locked.model_copy(update={"cors_allow_origins": page}))
    asked = {"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    status, _, headers = await ask(gateway, "OPTIONS", "/v1/chat/completions", asked)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, page)
    status, _, headers = await ask(gateway, "GET", "/v1/models", {"Origin": page})
    assert (status, headers["Access-Control-Allow-Origin"]) == (401, page)


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("GET", "/events")])
async def test_a_request_is_there_for_its_tenant_alone(gateway, worker, method, rest):
    async with worker.serving(worker.echo):
        answer = await gateway.post(chat(worker.card.model), headers=bearer(ALICE))
    path = f"/v1/requests/{answer.headers['X-Tessera-Request-Id']}{rest}"
    for headers, status in ((bearer(BOB), 404), (bearer(ALICE), 200)):
        assert (await ask(gateway, method, path, headers))[0] == status
    unknown = await ask(gateway, method, f"/v1/requests/nothing{rest}", bearer(BOB))
    others = await ask(gateway, method, path, bearer(BOB))
    assert unknown[:2] == others[:2]


async def test_another_tenant_cancels_nothing(gateway, worker):
    asked = asyncio.create_task(gateway.post(chat(worker.card.model), headers=bearer(ALICE)))
    lease = await worker.take()
    assert lease.job.tenant == "alice"
    assert (await ask(gateway, "DELETE", f"/v1/requests/{lease.job.id}", bearer(BOB)))[0] == 404
    await worker.say(lease, DOCUMENT, Data(b"{}"), End(USAGE))
    assert (await asked).status == 200


async def test_an_idempotency_key_is_its_tenants(gateway, worker):
    body, ids = chat(worker.card.model), []
    async with worker.serving(worker.echo):
        for key in (ALICE, BOB, ALICE):
            answer = await gateway.post(body, headers={**bearer(key), "Idempotency-Key": "k"})
            ids.append(answer.headers["X-Tessera-Request-Id"])
    assert ids[0] == ids[2] != ids[1]


async def test_no_tenant_pushes_out_anothers_idempotency_key(start_gateway, locked, worker):
    gateway = await start_gateway(locked.model_copy(update={"max_idempotency_keys": 2}))
    body, replayed = chat(worker.card.model), []
    asked = [(ALICE, "k"), *((BOB, f"k{n}") for n in range(3)), (ALICE, "k"), (BOB, "k0")]
    async with worker.serving(worker.echo):
        for key, name in asked:
            answer = await gateway.post(body, headers={**bearer(key), "Idempotency-Key": name})
            replayed.append("Idempotency-Replayed" in answer.headers)
    assert replayed == [False] * 4 + [True, False]


async def test_metrics_and_logs_tell_the_tenant(gateway, worker):
    names = ("tessera_tenant_requests_total", "tessera_tenant_tokens_total")
    before = [await gateway.metric(name, tenant="alice") for name in names]
    with capture_logs(processors=[merge_contextvars]) as logs:
        async with worker.serving(worker.echo):
            await gateway.post(chat(worker.card.model), headers=bearer(ALICE))
            await gateway.post(chat("nobody"), headers=bearer(ALICE))
    after = [await gateway.metric(name, tenant="alice") for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 10]
    assert [line["tenant"] for line in logs if line["event"] == "request_failed"] == ["alice"]


async def test_tokens_of_a_request_without_its_client_are_its_tenants(gateway, worker):
    before = await gateway.metric("tessera_tenant_tokens_total", tenant="bob")
    headers = {**bearer(BOB), "X-Tessera-On-Disconnect": "continue"}
    asked = asyncio.create_task(gateway.post(chat(worker.card.model), headers=headers))
    lease = await worker.take()
    asked.cancel()
    await eventually(lambda: gateway.requests() == 0, "the client has left")
    await worker.say(lease, DOCUMENT, Data(b"{}"), End(USAGE))

    async def counted():
        return await gateway.metric("tessera_tenant_tokens_total", tenant="bob") == before + 10

    await eventually(counted, "its tokens are counted")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "gateway.internal"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0", "api_key": ALICE}, False),
    ],
)
def test_a_gateway_that_is_open_to_all_says_so(monkeypatch, nothing_from_outside, given, told):
    monkeypatch.setattr(server.GatewayServer, "run", lambda self: None)
    for name in ("raise_descriptor_limit", "give_back_freed_memory", "keep_for_good"):
        monkeypatch.setattr(server, name, lambda: None)
    with capture_logs() as logs:
        server.run_gateway(Settings(**given))
    lines = [line for line in logs if line["event"] == "gateway_without_keys"]
    assert [line["log_level"] for line in lines] == ["warning"] * told
