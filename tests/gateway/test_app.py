from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import openapi_spec_validator
import pytest
import yaml
import yarl
from jsonschema import Draft202012Validator

from tessera import __version__
from tessera.gateway.description import openapi_yaml
from tessera.gateway.endpoints import ENDPOINTS, FORMS
from tests.gateway.scripted import ScriptedWorker

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/nothing", "/v1/chat/completions/", "/v1/images/generations", "/%00", "/" + "x" * 5000]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_an_unknown_path(gateway, method, path):
    async with gateway.http.request(method, gateway.url + path) as response:
        assert response.status == 404
        error = (await response.json())["error"]
    assert (error["code"], error["type"], error["param"]) == ("not_found", "invalid_request_error", None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/requests/x/events", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
        ("PROPFIND", "/metrics", "GET, HEAD"),
        ("PUT", "/docs", "GET, HEAD"),
        ("HEAD", "/v1/chat/completions", "POST"),
    ],
)
async def test_a_method_that_the_path_does_not_take(gateway, method, path, allowed):
    async with gateway.http.request(method, gateway.url + path) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)
        if method != "HEAD":
            assert (await response.json())["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/models", "/livez", "/readyz", "/health", "/metrics", "/openapi.json"])
async def test_head_answers_as_get_does_but_for_the_body(gateway, worker, path):
    async with gateway.http.head(gateway.url + path) as response:
        assert (response.status, await response.read()) == (200, b"")
        assert int(response.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions%0A", "/v1/models%0A", "/v1/requests/x/events%0A", "/docs%0A", "/livez%0A", "/livez%0D%0A"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_matches_to_its_last_character(gateway, method, path):
    async with gateway.http.request(method, yarl.URL(gateway.url + path, encoded=True)) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")


async def test_the_documentation_is_served(gateway):
    for path in ("/docs", "/redoc", "/openapi.json"):
        async with gateway.http.get(gateway.url + path) as response:
            assert response.status == 200


async def test_nothing_tells_what_serves(gateway):
    async with gateway.http.get(gateway.url + "/livez") as response:
        assert "Server" not in response.headers


async def test_the_version_is_told(gateway):
    assert await gateway.get("/version") == (200, {"version": __version__})


async def test_models_are_listed(gateway, worker):
    card = worker.card
    status, listed = await gateway.get("/v1/models")
    assert (status, listed["object"]) == (200, "list")
    [model] = listed["data"]
    assert (model["id"], model["object"], model["workers"]) == (card.model, "model", 1)
    assert model["modalities"] == ["text", "image", "video", "audio"]
    assert model["limits"] == card.limits
    assert await gateway.get(f"/v1/models/{card.model}") == (200, model)


async def test_a_model_may_have_slashes_in_its_name(gateway, worker, redis_client, settings, card):
    await ScriptedWorker(redis_client, settings, replace(card, model="org/model")).announce()
    await gateway.get("/readyz")
    status, model = await gateway.get("/v1/models/org/model")
    assert (status, model["id"]) == (200, "org/model")


async def test_an_unknown_model(gateway):
    status, body = await gateway.get("/v1/models/nobody")
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")


def test_the_description_in_the_repository_is_that_of_the_application():
    path = ROOT / "openapi.yaml"
    assert path.read_text() == openapi_yaml(), "run `tessera openapi > openapi.yaml`"


def test_the_description_has_every_path_and_resolves():
    described = yaml.safe_load(openapi_yaml())
    assert described["openapi"].startswith("3.1")
    assert described["info"]["version"] == __version__
    assert set(described["paths"]) == {
        *(endpoint.path for endpoint in (*ENDPOINTS, *FORMS)),
        "/v1/realtime",
        "/v1/estimate",
        "/v1/requests/{request_id}",
        "/v1/requests/{request_id}/events",
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/files/{file_id}/content",
        "/v1/uploads",
        "/v1/uploads/{upload_id}/parts",
        "/v1/uploads/{upload_id}/complete",
        "/v1/uploads/{upload_id}/cancel",
        "/v1/responses/{response_id}",
        "/v1/responses/{response_id}/cancel",
        "/v1/responses/{response_id}/input_items",
        "/v1/conversations",
        "/v1/conversations/{conversation_id}",
        "/v1/conversations/{conversation_id}/items",
        "/v1/conversations/{conversation_id}/items/{item_id}",
        "/v1/batches",
        "/v1/batches/{batch_id}",
        "/v1/batches/{batch_id}/cancel",
        "/v1/models",
        "/v1/models/{model}",
        "/admin/v1/requests/{request_id}",
        "/admin/v1/aliases",
        "/admin/v1/aliases/{alias}",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/livez",
        "/readyz",
        "/health",
        "/ping",
        "/version",
        "/metrics",
        "/sd/workers",
    }
    for reference in _references(described):
        node = described
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]


def test_every_body_has_an_example_and_every_refusal_a_body():
    described = yaml.safe_load(openapi_yaml())
    errors = {f"#/components/schemas/{name}" for name in ("Error", "AnthropicError")}
    asked = refused = 0
    for path, operations in described["paths"].items():
        for operation in operations.values():
            for kind, content in operation.get("requestBody", {"content": {}})["content"].items():
                schema = content["schema"] | {"components": described["components"]}
                example = content.get("example") or schema["example"]
                Draft202012Validator(schema).validate(example)
                asked += 1
                assert kind in ("application/json", "multipart/form-data")
            for status in operation["responses"].keys() & {str(status) for status in range(400, 600)}:
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                if path not in ("/readyz", "/health", "/ping"):
                    assert schema["$ref"] in errors, (path, status)
                refused += 1
    assert asked > 20
    assert refused > 200


def test_the_description_is_valid():
    openapi_spec_validator.validate(yaml.safe_load(openapi_yaml()))


def _references(node):
    if isinstance(node, dict):
        if isinstance(ref := node.get("$ref"), str):
            yield ref
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize(
    ("path", "needs"),
    [("/docs", {"swagger-ui-bundle.js", "swagger-ui.css"}), ("/redoc", {"redoc.standalone.js"})],
)
async def test_a_page_of_the_description_needs_nothing_from_elsewhere(gateway, path, needs):
    async with gateway.http.get(gateway.url + path) as response:
        assert response.status == 200
        page = await response.text()
    assert "http:" not in page
    assert "https:" not in page
    loaded = set(re.findall(r'(?:src|href|spec-url)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page))
    assert {name.rsplit("/")[-1] for name in loaded} == needs | {"openapi.json", "favicon.png"}
    for name in loaded:
        async with gateway.http.get(f"{gateway.url}/{name}") as response:
            assert response.status == 200
            assert len(await response.read()) > 1000
