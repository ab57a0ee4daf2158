"""``/v1/responses``: what the worker is asked, what is kept, and that any gateway goes on with it."""

from __future__ import annotations

import asyncio
import base64
import json

import openai
import pytest

from tessera.gateway import response_keeper
from tessera.local.samples import image
from tessera.queue import Data, End, Failure, Head
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE, sent
from tests.polling import eventually

PNG = f"data:image/png;base64,{base64.b64encode(image()).decode()}"
RESPONSES = "/v1/responses"


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(response_keeper, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(response_keeper, "LOOK_AGAIN_S", 0.02)


@pytest.fixture
async def other(start_gateway, settings, gateway):
    """Another gateway on the same queue."""
    return await start_gateway(settings)


def message(text, number=0):
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": None}]
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": content}


def response(lease, *output, status="completed"):
    """As a worker gives it."""
    body = sent(lease)
    told = {"id": body["request_id"], "object": "response", "model": body["model"], "status": status}
    return {**told, "output": list(output), "usage": {"input_tokens": 3, "output_tokens": 2}, **lease.job.echo}


def event(number, kind, **content):
    told = json.dumps({**content, "sequence_number": number, "type": kind}, separators=(",", ":"))
    return f"event: {kind}\ndata: {told}\n\n".encode()


def events_of(lease, *texts):
    final = response(lease, message("".join(texts)))
    first = event(0, "response.created", response={**final, "output": [], "status": "in_progress"})
    deltas = [event(n, "response.output_text.delta", delta=text) for n, text in enumerate(texts, 1)]
    return [first, *deltas, event(len(texts) + 1, "response.completed", response=final)]


async def answer(worker, lease, *output):
    await worker.say(lease, DOCUMENT, Data(json.dumps(response(lease, *output)).encode()), End(USAGE))


async def asked(gateway, worker, text="Yes.", **body):
    """The id of a response that has been answered with a text, and what the worker was asked."""
    task = asyncio.create_task(gateway.post({"model": worker.card.model, "input": "Hello", **body}, RESPONSES))
    lease = await worker.take()
    await answer(worker, lease, message(text))
    told = await task
    assert told.status == 200, told.body
    return told.json["id"], sent(lease)


async def get(gateway, path):
    return await gateway.get(f"{RESPONSES}/{path}")


async def delete(gateway, response_id):
    async with gateway.http.delete(f"{gateway.url}{RESPONSES}/{response_id}") as answered:
        return answered.status, await answered.json()


async def refused(gateway, worker, **body):
    told = await gateway.post({"model": worker.card.model, "input": "Hello", **body}, RESPONSES)
    assert told.status == 400, told.body
    return told.error


async def test_a_response_is_kept_and_any_gateway_shows_it(gateway, other, worker):
    response_id, body = await asked(gateway, worker, metadata={"a": "b"}, temperature=0.5)
    assert body["input"] == "Hello", "what needs no change goes on as it came"
    assert (body["store"], body["background"], body["request_id"]) == (False, False, response_id)
    status, kept = await get(other, response_id)
    assert (status, kept["status"], kept["store"], kept["background"]) == (200, "completed", True, False)
    assert kept["output"] == [message("Yes.")]


async def test_what_is_not_to_be_kept_is_not(gateway, worker):
    response_id, _ = await asked(gateway, worker, store=False)
    assert (await get(gateway, response_id))[0] == 404
    error = await refused(gateway, worker, previous_response_id=response_id)
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")


async def test_an_earlier_response_stands_in_front_of_the_input(gateway, other, worker):
    first, _ = await asked(gateway, worker, "One.", input="First", instructions="Be short.")
    part = {"type": "input_text", "text": "Second"}
    second, _ = await asked(
        other, worker, "Two.", input=[{"role": "user", "content": [part]}], previous_response_id=first
    )
    third, body = await asked(gateway, worker, "Three.", input="Third", previous_response_id=second)
    said = [
        item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in body["input"]
    ]
    assert said == ["First", "One.", "Second", "Two.", "Third"]
    assert [item["role"] for item in body["input"]] == ["user", "assistant", "user", "assistant", "user"]
    assert "instructions" not in body, "they are of their own response alone"
    assert "previous_response_id" not in body
    assert (await get(other, third))[1]["previous_response_id"] == second


async def test_a_call_of_a_tool_is_continued_with_what_it_gave(gateway, worker):
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    call = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    thought = {"id": "rs_1", "type": "reasoning", "summary": [], "content": None}
    task = asyncio.create_task(gateway.post({"model": worker.card.model, "input": "Look", "tools": [tool]}, RESPONSES))
    lease = await worker.take()
    await answer(worker, lease, thought, {**call, "namespace": None})
    given = {"type": "function_call_output", "call_id": "call_1", "output": "A cat."}
    _, body = await asked(gateway, worker, input=[given], tools=[tool], previous_response_id=(await task).json["id"])
    assert body["input"][1:] == [call, given]


async def test_media_of_all_turns_goes_on_as_references(gateway, worker):
    picture = {"type": "input_image", "image_url": PNG}
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(_wav()).decode(), "format": "wav"}}
    first, body = await asked(gateway, worker, input=[{"role": "user", "content": [picture]}])
    [seen] = body["input"][0]["content"]
    assert (seen["type"], seen["detail"]) == ("input_image", "auto")
    assert seen["image_url"].startswith("tessera-media:")
    question = [{"type": "text", "text": "And this?"}, sound]
    _, body = await asked(gateway, worker, input=[{"role": "user", "content": question}], previous_response_id=first)
    assert body["input"][0]["content"] == [seen]
    text, heard = body["input"][2]["content"]
    assert text == {"type": "input_text", "text": "And this?"}
    assert (heard["type"], heard["filename"]) == ("input_file", "audio")
    assert heard["file_url"] == f"tessera-media:{heard['file_id']}"


def _wav():
    from tessera.local.samples import audio

    return audio()


async def test_a_part_of_a_later_turn_is_named_as_its_client_knows_it(gateway, worker):
    first, _ = await asked(gateway, worker)
    parts = [{"type": "input_image", "image_url": "ftp://x"}]
    error = await refused(gateway, worker, input=[{"role": "user", "content": parts}], previous_response_id=first)
    assert error["param"] == "input[0].content[0]"


async def test_the_input_items_of_a_response(gateway, worker):
    items = [{"role": "user", "content": text} for text in "abc"]
    response_id, _ = await asked(gateway, worker, input=items)
    status, listed = await get(gateway, f"{response_id}/input_items?limit=2")
    assert (status, listed["has_more"]) == (200, True)
    assert [item["content"] for item in listed["data"]] == ["c", "b"]
    assert all(item["id"].startswith("msg_") for item in listed["data"])
    rest = (await get(gateway, f"{response_id}/input_items?after={listed['last_id']}"))[1]
    assert ([item["content"] for item in rest["data"]], rest["has_more"]) == (["a"], False)
    assert (await get(gateway, f"{response_id}/input_items?order=up"))[1]["error"]["param"] == "order"


async def background(gateway, worker, **body):
    told = await gateway.post({"model": worker.card.model, "input": "Hello", "background": True, **body}, RESPONSES)
    assert told.status == 200, told.body
    return told.json


async def test_a_response_in_the_background(gateway, other, worker):
    begun = await background(gateway, worker)
    assert (begun["status"], begun["background"], begun["output"]) == ("queued", True, [])
    assert (await get(other, begun["id"]))[1] == begun
    lease = await worker.take()
    assert sent(lease)["background"] is False
    assert (await get(other, begun["id"]))[1]["status"] == "in_progress"
    await answer(worker, lease, message("Done."))
    kept = (await get(other, begun["id"]))[1]
    assert (kept["status"], kept["background"], kept["created_at"]) == ("completed", True, begun["created_at"])
    assert kept["output"] == [message("Done.")]


async def test_its_end_is_kept_though_nobody_asks(gateway, worker, redis_client, settings):
    begun = await background(gateway, worker)
    lease = await worker.take()
    await answer(worker, lease, message("Done."))
    opened = f"{settings.redis_prefix}:{{responses}}:open"
    await eventually(lambda: _is(redis_client.zcard(opened), 0), "somebody has looked")
    await redis_client.delete(worker.broker.keys.log(worker.card.model, lease.job.id))
    assert (await get(gateway, begun["id"]))[1]["output"] == [message("Done.")]


async def test_its_events_are_followed_from_another_gateway(gateway, other, worker):
    body = {"model": worker.card.model, "input": "Hello", "background": True, "stream": True}

    async def begin():
        return await gateway.http.post(gateway.url + RESPONSES, json=body)

    task = asyncio.create_task(begin())
    lease = await worker.take()
    response_id = sent(lease)["request_id"]
    all_events = events_of(lease, "a", "b", "c", "d")
    await worker.say(lease, STREAM, Data(all_events[0] + all_events[1]), Data(all_events[2]))
    begun = b"".join(all_events[:3])
    async with await task as first:
        assert await first.content.readexactly(len(begun)) == begun
        first.close()
    await eventually(lambda: _is(other_metric(gateway), 1), "its client has left")
    followed = asyncio.create_task(follow(other, response_id, 1))
    await worker.say(lease, Data(b"".join(all_events[3:])), End(USAGE))
    assert await followed == (200, b"".join(all_events[2:]))
    assert await follow(gateway, response_id) == (200, b"".join(all_events))
    assert await follow(gateway, response_id, 5) == (200, b"")
    status, told = await follow(gateway, response_id, 6)
    assert status == 200
    assert b'"code":"reply_dropped"' in told
    assert (await get(other, response_id))[1]["status"] == "completed"


async def other_metric(gateway):
    return await gateway.metric("tessera_requests_total", endpoint=RESPONSES, status="499")


async def follow(gateway, response_id, after=None):
    query = "stream=true" if after is None else f"stream=true&starting_after={after}"
    async with gateway.http.get(f"{gateway.url}{RESPONSES}/{response_id}?{query}") as answered:
        return answered.status, await answered.read()


async def test_openais_client_goes_on_behind_an_event(gateway, other, worker):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        stream = asyncio.create_task(
            client.responses.create(model=worker.card.model, input="Hi", background=True, stream=True)
        )
        lease = await worker.take()
        all_events = events_of(lease, "a", "b")
        await worker.say(lease, STREAM, Data(b"".join(all_events[:2])))
        first = await anext(aiter(await stream))
        await (await stream).close()
    await worker.say(lease, Data(b"".join(all_events[2:])), End(USAGE))
    async with openai.AsyncOpenAI(base_url=f"{other.url}/v1", api_key="none", max_retries=0) as client:
        followed = await client.responses.retrieve(first.response.id, stream=True, starting_after=0)
        numbers = [told.sequence_number async for told in followed]
    assert numbers == [1, 2, 3]


async def test_cancelling_and_deleting(gateway, other, worker):
    begun = await background(gateway, worker)
    lease = await worker.take()
    told = await other.post({}, f"{RESPONSES}/{begun['id']}/cancel")
    assert (told.status, told.json["status"], told.json["output"]) == (200, "cancelled", [])
    assert await worker.cancelled(lease.job.id)
    assert (await get(gateway, begun["id"]))[1]["status"] == "cancelled"
    assert (await delete(other, begun["id"]))[0] == 200
    assert (await get(gateway, begun["id"]))[0] == (await delete(gateway, begun["id"]))[0] == 404
    running = await background(gateway, worker)
    lease = await worker.take()
    assert await delete(other, running["id"]) == (200, {"id": running["id"], "object": "response", "deleted": True})
    assert await worker.cancelled(lease.job.id)


async def test_what_a_client_waits_for_is_cancelled_by_leaving(gateway, worker):
    response_id, _ = await asked(gateway, worker)
    told = await gateway.post({}, f"{RESPONSES}/{response_id}/cancel")
    assert (told.status, told.error["param"]) == (400, "response_id")
    status, body = await get(gateway, f"{response_id}?stream=true")
    assert (status, body["error"]["param"]) == (400, "stream")


async def test_one_that_fails_in_the_background_says_so(gateway, worker):
    begun = await background(gateway, worker)
    lease = await worker.take()
    refusal = {"error": {"message": "Too long.", "type": "x", "param": "input", "code": "context_length_exceeded"}}
    entries = (Head(400, "application/json"), Data(json.dumps(refusal).encode()), End({}, (400, "x")))
    await worker.say(lease, *entries)
    kept = (await get(gateway, begun["id"]))[1]
    assert (kept["status"], kept["error"]) == ("failed", {"code": "invalid_prompt", "message": "Too long."})
    error = await refused(gateway, worker, previous_response_id=begun["id"])
    assert error["param"] == "previous_response_id"
    begun = await background(gateway, worker)
    await worker.finish(await worker.take(), Failure("worker_lost", "Too many died."))
    assert (await get(gateway, begun["id"]))[1]["error"] == {"code": "server_error", "message": "Too many died."}


async def test_one_that_fails_in_front_of_its_client_is_not_kept(gateway, worker):
    task = asyncio.create_task(gateway.post({"model": worker.card.model, "input": "Hello"}, RESPONSES))
    lease = await worker.take()
    await worker.finish(lease, Failure("queue_timeout", "Too late."))
    assert (await task).error["code"] == "queue_timeout"
    assert (await get(gateway, sent(lease)["request_id"]))[0] == 404


async def test_a_stream_that_fails_ends_with_a_numbered_event(gateway, worker):
    body = {"model": worker.card.model, "input": "Hello", "stream": True}
    task = asyncio.create_task(gateway.post(body, RESPONSES))
    lease = await worker.take()
    begun = events_of(lease, "a")[:2]
    await worker.say(lease, STREAM, Data(b"".join(begun)))
    await worker.finish(lease, Failure("worker_lost", "Gone."))
    told = (await task).body.removeprefix(b"".join(begun))
    expected = {"type": "error", "code": "worker_lost", "message": "Gone.", "param": None, "sequence_number": 2}
    assert told.startswith(b"event: error\ndata: ")
    assert json.loads(told.partition(b"data: ")[2]) == expected


def said(part):
    return [{"role": "user", "content": [part]}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "tools[1].type"),
        ({"background": True, "store": False}, "store"),
        ({"background": "yes"}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": said({"type": "input_file", "file_url": "ftp://x/y"})}, "input[0].content[0]"),
        ({"input": said({"type": "thinking", "thinking": "x"})}, "input[0].content[0]"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"previous_response_id": "none"}, "previous_response_id"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_by_name(gateway, worker, body, param):
    assert (await refused(gateway, worker, **body))["param"] == param
    assert await worker.waiting() == 0


async def test_the_oldest_give_way_and_one_that_is_too_large_is_not_kept(start_gateway, settings, worker):
    gateway = await start_gateway(
        settings.model_copy(update={"responses_max_per_tenant": 2, "responses_max_bytes": 2000})
    )
    ids = []
    for _ in range(3):
        ids.append((await asked(gateway, worker))[0])
        await get(gateway, ids[-1])  # its end is kept before the next one begins
    assert [(await get(gateway, response_id))[0] for response_id in ids] == [404, 200, 200]
    large = "x" * 3000
    response_id, _ = await asked(gateway, worker, input=large)
    assert (await get(gateway, response_id))[0] == 404
    told = await gateway.post({"model": worker.card.model, "input": large, "store": True}, RESPONSES)
    assert (told.status, told.error["param"]) == (413, "input")


async def test_all_of_them_stay_within_their_bytes(start_gateway, settings, worker, redis_client):
    most = 20_000
    gateway = await start_gateway(settings.model_copy(update={"responses_max_bytes_per_tenant": most}))
    for _ in range(8):
        response_id, _ = await asked(gateway, worker, input="x" * 4000)
        await get(gateway, response_id)
    held = await redis_client.hgetall(f"{settings.redis_prefix}:{{responses:default}}:bytes")
    assert int(held.pop(b"=")) == sum(map(int, held.values())) <= most
    assert len(held) < 8


async def test_a_chain_has_a_limit(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"responses_max_chain": 2}))
    first, _ = await asked(gateway, worker)
    second, _ = await asked(gateway, worker, previous_response_id=first)
    third, _ = await asked(gateway, worker, previous_response_id=second)
    assert "At most 2" in (await refused(gateway, worker, previous_response_id=third))["message"]


async def test_a_response_is_its_tenants_own(start_gateway, settings, worker, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice sk-alice\nbob sk-bob\n")
    gateway = await start_gateway(settings.model_copy(update={"api_keys_file": keys}))
    alice, bob = ({"x-api-key": f"sk-{name}"} for name in ("alice", "bob"))
    body = {"model": worker.card.model, "input": "Hello", "background": True}
    begun = (await gateway.post(body, RESPONSES, headers=alice)).json
    url = f"{gateway.url}{RESPONSES}/{begun['id']}"
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/input_items"),
        ("GET", "?stream=1"),
    ):
        async with gateway.http.request(method, url + path, headers=bob) as answered:
            assert answered.status == 404
    told = await gateway.post({**body, "previous_response_id": begun["id"]}, RESPONSES, headers=bob)
    assert told.error["code"] == "previous_response_not_found"
    async with gateway.http.get(url, headers=alice) as answered:
        assert answered.status == 200


async def test_an_idempotency_key_gives_the_same_response(gateway, other, worker):
    body = {"model": worker.card.model, "input": "Hello", "background": True}
    key = {"Idempotency-Key": "once"}
    first = (await gateway.post(body, RESPONSES, headers=key)).json
    again = await other.post(body, RESPONSES, headers=key)
    assert (again.json["id"], again.headers["Idempotency-Replayed"]) == (first["id"], "true")
    assert await worker.waiting() == 1


async def _is(value, expected):
    return await value == expected
