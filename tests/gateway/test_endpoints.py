"""The table of endpoints: each row is a route, is checked, costs what it says, and reaches the worker as it came."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace

import pytest

from tessera.gateway.endpoints import (
    CHAT_BATCH,
    CLASSIFICATION,
    COHERE_EMBEDDING,
    COMPLETION,
    DETOKENIZATION,
    EMBEDDING,
    ENDPOINTS,
    POOLING,
    RERANKING,
    SCORING,
    TOKENIZATION,
)
from tessera.local.samples import image
from tessera.queue import Data, End, Head
from tests.gateway.scripted import USAGE, ScriptedWorker, sent

PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image()).decode()}"}}
SAID = {"role": "user", "content": "Hello"}
SHOWN = {"role": "user", "content": [{"type": "text", "text": "Look."}, PICTURE]}
SIGHT = {"content": [PICTURE]}
SOUND = {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}}
TOLD = {"content": [{"type": "text", "text": "Look."}]}
RERANK, SCORE = RERANKING[0], SCORING[0]


async def arrives(gateway, worker, endpoint, **fields):
    """What the worker gets of a request."""
    body = {"model": worker.card.model, **fields}
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(body, endpoint.path))
        lease = await worker.take()
        await worker.echo(lease)
    assert asked.result().status == 200, asked.result().body
    assert lease.job.path == endpoint.path
    return lease


async def refused(gateway, worker, endpoint, **fields):
    answer = await gateway.post({"model": worker.card.model, **fields}, endpoint.path)
    assert await worker.waiting() == 0
    return answer.status, answer.error["code"], answer.error["param"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_an_example_arrives_as_it_was_sent_and_is_counted_under_its_path(gateway, worker, endpoint, media_server):
    given = {**endpoint.example, "model": worker.card.model, "made_up": [1.50, "ü"]}
    if "messages" in given:
        given["messages"] = [[SAID], [SAID]] if endpoint.conversations else [SAID]
    raw = json.dumps(given, ensure_ascii=False, indent=1).encode()
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.post(raw, endpoint.path))
        lease = await worker.take()
        await worker.echo(lease)
    assert asked.result().status == 200
    assert (lease.job.path, lease.job.stream) == (endpoint.path, False)
    # What a response needs of the worker is put before its own fields.
    assert lease.job.body.endswith(raw.removeprefix(b"{"))
    assert lease.job.body == raw or endpoint.path == "/v1/responses"
    labels = {"model": worker.card.model, "endpoint": endpoint.path, "status": "200"}
    assert await gateway.metric("tessera_requests_total", **labels) == 1
    assert await gateway.metric("tessera_tokens_total", model=worker.card.model, kind="prompt") > 0


async def test_a_model_says_what_it_can_be_asked_and_is_asked_nothing_else(start_gateway, settings, redis_client, card):
    worker = ScriptedWorker(redis_client, settings, replace(card, tasks=["embed", "score", "tokenize"]))
    await worker.announce()
    gateway = await start_gateway(settings)
    _, model = await gateway.get(f"/v1/models/{card.model}")
    assert model["tasks"] == ["embed", "score", "tokenize"]
    assert model["endpoints"] == [
        e.path for e in (EMBEDDING, COHERE_EMBEDDING, *RERANKING, *SCORING, POOLING, TOKENIZATION, DETOKENIZATION)
    ]
    for endpoint in ENDPOINTS:
        answer = await gateway.post({**endpoint.example, "model": "nobody's"}, endpoint.path)
        assert answer.error["code"] == "model_not_found"
        if endpoint.path in model["endpoints"]:
            continue
        answer = await gateway.post({**endpoint.example, "model": card.model}, endpoint.path)
        assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unsupported_endpoint", "model")
        assert endpoint.path in answer.error["message"]
        assert ", ".join(model["endpoints"]) in answer.error["message"]
    assert await worker.waiting() == 0


async def test_a_worker_that_does_not_say_what_its_model_can_do_generates(start_gateway, settings, redis_client, card):
    old = json.loads(card.encode())
    del old["tasks"]
    decoded = type(card).decode(json.dumps(old).encode())
    worker = ScriptedWorker(redis_client, settings, decoded)
    await worker.announce()
    gateway = await start_gateway(settings)
    generating = [endpoint.path for endpoint in ENDPOINTS if "generate" in endpoint.tasks]
    assert {"/v1/chat/completions", "/v1/completions"} < set(generating) < {endpoint.path for endpoint in ENDPOINTS}
    assert (await gateway.get(f"/v1/models/{card.model}"))[1]["endpoints"] == generating


@pytest.mark.parametrize(
    ("endpoint", "fields", "width"),
    [
        (EMBEDDING, {"input": ["a", "b", "c"]}, 3),
        (EMBEDDING, {"input": [[1, 2], [3]]}, 2),
        (EMBEDDING, {"input": ["x"] * 1000}, 256),
        (COHERE_EMBEDDING, {"texts": ["a", "b", "c"]}, 3),
        (COHERE_EMBEDDING, {"texts": None, "images": [PICTURE["image_url"]["url"]] * 4}, 4),
        (CLASSIFICATION, {"input": [1, 2, 3]}, 1),
        (CHAT_BATCH, {"messages": [[SAID], [SAID], [SAID]]}, 3),
        (RERANK, {"query": "a", "documents": ["b", "c"]}, 2),
        (SCORE, {"text_1": ["a", "b"], "text_2": ["c", "d"]}, 2),
        (DETOKENIZATION, {"tokens": list(range(500))}, 1),
    ],
)
async def test_what_a_request_costs(gateway, worker, endpoint, fields, width):
    assert (await arrives(gateway, worker, endpoint, **fields)).job.sequences == width


@pytest.mark.parametrize(
    ("endpoint", "fields", "at"),
    [
        (EMBEDDING, {"messages": [SAID, SHOWN]}, ("messages", 1, "content", 1)),
        (EMBEDDING, {"messages": [[SAID], [SHOWN]]}, ("messages", 1, 0, "content", 1)),
        (EMBEDDING, {"input": [SHOWN]}, ("input", 0, "content", 1)),
        (EMBEDDING, {"input": [[SHOWN]]}, ("input", 0, 0, "content", 1)),
        (COHERE_EMBEDDING, {"inputs": [TOLD, {"content": [{"text": "a"}, PICTURE]}]}, ("inputs", 1, "content", 1)),
        (CHAT_BATCH, {"messages": [[SAID], [SAID, SHOWN]]}, ("messages", 1, 1, "content", 1)),
        (CLASSIFICATION, {"messages": [SHOWN]}, ("messages", 0, "content", 1)),
        (POOLING, {"messages": [SHOWN]}, ("messages", 0, "content", 1)),
        (TOKENIZATION, {"messages": [SHOWN]}, ("messages", 0, "content", 1)),
        (RERANK, {"query": SIGHT, "documents": "x"}, ("query", "content", 0)),
        (RERANK, {"query": "x", "documents": ["y", SIGHT]}, ("documents", 1, "content", 0)),
        (SCORE, {"data_1": SIGHT, "data_2": ["y"]}, ("data_1", "content", 0)),
        (SCORE, {"queries": "x", "items": [SIGHT, SIGHT, SIGHT]}, ("items", 2, "content", 0)),
    ],
)
async def test_media_becomes_a_reference_wherever_it_stands(gateway, worker, endpoint, fields, at):
    lease = await arrives(gateway, worker, endpoint, **fields)
    assert b"base64" not in lease.job.body
    part = sent(lease)
    for step in at:
        part = part[step]
    assert part["image_url"]["url"].startswith("tessera-media:")
    wrong = json.loads(json.dumps(fields).replace("image/png", "image/x").replace("iVBOR", "AAAAA"))
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)[1:]
    first = name.replace("items[2]", "items[0]")
    assert await refused(gateway, worker, endpoint, **wrong) == (400, "media_type_mismatch", first)


@pytest.mark.parametrize(
    ("endpoint", "fields", "code", "param"),
    [
        (EMBEDDING, {}, "missing_required_parameter", "input"),
        (EMBEDDING, {"input": ["a", 1]}, "invalid_value", "input"),
        (EMBEDDING, {"input": [{"content": "x"}]}, "missing_required_parameter", "input[0].role"),
        (EMBEDDING, {"input": "x", "dimensions": 0}, "invalid_value", "dimensions"),
        (EMBEDDING, {"input": "x", "encoding_format": "hex"}, "invalid_value", "encoding_format"),
        (EMBEDDING, {"input": ["x"] * 2049}, "invalid_value", "input"),
        (EMBEDDING, {"messages": [[SAID], []]}, "missing_required_parameter", "messages[1]"),
        (EMBEDDING, {"messages": [[SAID], SAID]}, "invalid_value", "messages[1]"),
        (COHERE_EMBEDDING, {"texts": []}, "missing_required_parameter", "texts"),
        (COHERE_EMBEDDING, {"texts": ["a"], "images": ["b"]}, "invalid_value", "images"),
        (COHERE_EMBEDDING, {"images": ["a"]}, "invalid_media", "images[0]"),
        (COHERE_EMBEDDING, {"inputs": [TOLD, {"content": "a"}]}, "missing_required_parameter", "inputs[1].content"),
        (COHERE_EMBEDDING, {"inputs": [{"content": ["a"]}]}, "missing_required_parameter", "inputs[0].content[0]"),
        (COHERE_EMBEDDING, {"inputs": [{"content": [SOUND]}]}, "unsupported_content_part", "inputs[0].content[0]"),
        (COHERE_EMBEDDING, {"texts": ["a"], "embedding_types": ["int8"]}, "invalid_value", "embedding_types"),
        (POOLING, {"data": {"url": "http://x/"}, "input": "x"}, "invalid_value", "data"),
        (CHAT_BATCH, {"messages": [SAID]}, "invalid_value", "messages"),
        (CHAT_BATCH, {"messages": [[SAID]] * 129}, "invalid_value", "messages"),
        (CHAT_BATCH, {"messages": [[SAID], [{"role": "x"}]]}, "invalid_value", "messages[1][0].role"),
        (RERANK, {"query": "x"}, "missing_required_parameter", "documents"),
        (RERANK, {"query": "x", "documents": []}, "missing_required_parameter", "documents"),
        (RERANK, {"query": "x", "documents": [{"text": "y"}]}, "missing_required_parameter", "documents[0].content"),
        (RERANK, {"query": "x", "documents": "y", "top_n": -1}, "invalid_value", "top_n"),
        (SCORE, {"queries": "x", "text_2": "y"}, "missing_required_parameter", "documents"),
        (DETOKENIZATION, {"tokens": [1, -1]}, "invalid_value", "tokens"),
        (TOKENIZATION, {"prompt": ["x"]}, "invalid_value", "prompt"),
        (TOKENIZATION, {"prompt": "x", "stream": True}, "invalid_value", "stream"),
        (COMPLETION, {"prompt": "x", "max_tokens": -1}, "invalid_value", "max_tokens"),
    ],
)
async def test_what_is_wrong_is_named_before_anything_is_queued(gateway, worker, endpoint, fields, code, param):
    assert await refused(gateway, worker, endpoint, **fields) == (400, code, param)


async def test_images_that_are_inputs_become_references_and_each_is_a_prompt(gateway, worker):
    url = PICTURE["image_url"]["url"]
    lease = await arrives(gateway, worker, COHERE_EMBEDDING, images=[url] * 3)
    assert [each.partition(":")[0] for each in sent(lease)["images"]] == ["tessera-media"] * 3
    found = await refused(gateway, worker, COHERE_EMBEDDING, images=[url, url.replace("iVBOR", "AAAAA")])
    assert found == (400, "media_type_mismatch", "images[1]")


async def test_the_limit_of_media_is_that_of_each_prompt(gateway, worker):
    # Two images a prompt are what the model takes.
    documents = [{"content": [PICTURE, PICTURE]} for _ in range(3)]
    await arrives(gateway, worker, RERANK, query="x", documents=documents)
    documents[1]["content"].append(PICTURE)
    found = await refused(gateway, worker, RERANK, query="x", documents=documents)
    assert found == (400, "too_many_media_parts", "documents[1].content[2]")
    found = await refused(gateway, worker, RERANK, query="x", documents=[{"content": [PICTURE]}] * 129)
    assert found == (400, "too_many_media_parts", "documents[128].content[0]")


@pytest.mark.parametrize("name", ["input", "documents", "query", "model"])
async def test_a_field_that_is_read_stands_once(gateway, worker, name):
    endpoint = EMBEDDING if name in ("input", "model") else RERANK
    body = {**endpoint.example, "model": worker.card.model}
    raw = json.dumps(body)[:-1].encode() + b', "%b": "x"}' % name.encode()
    answer = await gateway.post(raw, endpoint.path)
    assert (answer.status, answer.error["param"]) == (400, name)


async def test_an_answer_in_binary_comes_with_what_its_numbers_are(gateway, worker):
    async def answer(lease):
        head = Head(200, "application/octet-stream", headers={"metadata": '{"data": []}'})
        await worker.say(lease, head, Data(b"\x00\x01"), End(USAGE))

    async with worker.serving(answer):
        body = {"model": worker.card.model, "input": "x", "encoding_format": "bytes"}
        got = await gateway.post(body, EMBEDDING.path)
    assert (got.status, got.body, got.headers["metadata"]) == (200, b"\x00\x01", '{"data": []}')
    assert got.headers["Content-Type"] == "application/octet-stream"


async def test_a_request_is_found_by_its_answers_id(gateway, worker):
    for endpoint in ENDPOINTS:
        lease = await arrives(gateway, worker, endpoint, **_prompt_of(endpoint))
        status, found = await gateway.get(f"/v1/requests/{endpoint.answers}{lease.job.id}")
        assert (status, found["endpoint"], found["id"]) == (200, endpoint.path, lease.job.id)


def _prompt_of(endpoint):
    messages = [[SAID]] if endpoint is CHAT_BATCH else [SAID]
    given = {name: value for name, value in endpoint.example.items() if name in endpoint.prompt_fields}
    return {**given, **({"messages": messages} if "messages" in given else {})}
