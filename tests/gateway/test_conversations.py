"""``/v1/conversations``, and responses that go on from them."""

from __future__ import annotations

import asyncio
import base64

import openai
import pytest

from tessera.gateway import conversation_keeper, response_keeper
from tessera.local.samples import image
from tessera.queue import Data, End
from tessera.responses import Shelf
from tests.gateway.scripted import DOCUMENT, STREAM, USAGE
from tests.gateway.test_responses import RESPONSES, answer, asked, delete, events_of, message
from tests.polling import eventually

CONVERSATIONS = "/v1/conversations"


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(response_keeper, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(response_keeper, "LOOK_AGAIN_S", 0.02)


@pytest.fixture
async def other(start_gateway, settings, gateway):
    """Another gateway on the same queue."""
    return await start_gateway(settings)


def said(text, role="user"):
    return {"type": "message", "role": role, "content": text}


async def make(gateway, **body):
    made = await gateway.post(body, CONVERSATIONS)
    assert made.status == 200, made.body
    return made.json["id"]


async def add(gateway, conversation_id, *items):
    return await gateway.post({"items": list(items)}, f"{CONVERSATIONS}/{conversation_id}/items")


async def remove(gateway, path):
    async with gateway.http.delete(f"{gateway.url}{CONVERSATIONS}/{path}") as answered:
        return answered.status, await answered.json()


async def texts(gateway, conversation_id):
    """What was said, in its order."""
    status, page = await gateway.get(f"{CONVERSATIONS}/{conversation_id}/items?order=asc&limit=100")
    assert status == 200
    return [_text(item) for item in page["data"]]


def _text(item):
    content = item["content"]
    return content if isinstance(content, str) else content[0]["text"]


async def test_it_is_kept_and_any_gateway_shows_and_changes_it(gateway, other):
    made = (await gateway.post({"metadata": {"topic": "a"}, "items": [said("One"), said("Two")]}, CONVERSATIONS)).json
    assert (made["object"], made["metadata"]) == ("conversation", {"topic": "a"})
    name = made["id"]
    assert name.startswith("conv_")
    assert await other.get(f"{CONVERSATIONS}/{name}") == (200, made)
    changed = (await other.post({"metadata": {"topic": "b"}}, f"{CONVERSATIONS}/{name}")).json
    assert changed == {**made, "metadata": {"topic": "b"}}
    assert (await gateway.get(f"{CONVERSATIONS}/{name}"))[1] == changed
    assert await texts(other, name) == ["One", "Two"]
    assert await remove(other, name) == (200, {"id": name, "object": "conversation.deleted", "deleted": True})
    for path in (name, f"{name}/items"):
        status, error = await gateway.get(f"{CONVERSATIONS}/{path}")
        assert (status, error["error"]["code"]) == (404, "conversation_not_found")


async def test_items_are_added_listed_and_dropped(gateway):
    name = await make(gateway)
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    page = (await add(gateway, name, {**said("One"), "id": "of-the-client"}, call)).json
    assert [item["id"].rpartition("_")[0] for item in page["data"]] == ["msg", "fc"]
    assert [{k: v for k, v in item.items() if k != "id"} for item in page["data"]] == [said("One"), call]
    await add(gateway, name, *[said(f"{n}") for n in range(3, 6)])
    _, last = await gateway.get(f"{CONVERSATIONS}/{name}/items?limit=2")
    assert ([_text(item) for item in last["data"]], last["has_more"]) == (["5", "4"], True)
    _, rest = await gateway.get(f"{CONVERSATIONS}/{name}/items?after={last['last_id']}")
    assert ([item["id"] for item in rest["data"][1:]], rest["has_more"]) == (
        [i["id"] for i in page["data"][::-1]],
        False,
    )
    first = page["data"][0]
    assert await gateway.get(f"{CONVERSATIONS}/{name}/items/{first['id']}") == (200, first)
    status, shown = await remove(gateway, f"{name}/items/{first['id']}")
    assert (status, shown["id"]) == (200, name)
    for answered in (
        await gateway.get(f"{CONVERSATIONS}/{name}/items/{first['id']}"),
        await remove(gateway, f"{name}/items/x"),
    ):
        assert (answered[0], answered[1]["error"]["code"]) == (404, "conversation_item_not_found")


async def test_responses_go_on_from_it_and_are_added_to_it(gateway, other, worker):
    name = await make(gateway, items=[said("You are brief.", "system")])
    first, body = await asked(gateway, worker, "One.", input="First", conversation=name)
    assert [_text(item) for item in body["input"]] == ["You are brief.", "First"]
    assert "conversation" not in body
    assert (await other.get(f"{RESPONSES}/{first}"))[1]["conversation"] == {"id": name}
    _, body = await asked(other, worker, "Two.", input="Second", conversation={"id": name})
    assert [_text(item) for item in body["input"]] == ["You are brief.", "First", "One.", "Second"]
    spoken = ["You are brief.", "First", "One.", "Second", "Two."]
    assert await texts(gateway, name) == spoken
    assert (await gateway.get(f"{CONVERSATIONS}/{name}/items?limit=1"))[1]["data"] == [message("Two.")]
    assert (await delete(gateway, first))[0] == 200
    assert await texts(gateway, name) == spoken, "what was said stays"


async def test_a_stream_and_what_runs_in_the_background_are_added_too(gateway, worker):
    name = await make(gateway)
    task = asyncio.create_task(
        gateway.post({"model": worker.card.model, "input": "A", "stream": True, "conversation": name}, RESPONSES)
    )
    lease = await worker.take()
    await worker.say(lease, STREAM, *map(Data, events_of(lease, "B", "C")), End(USAGE))
    assert b'"conversation":{"id":"conv_' in (await task).body
    sent = {"model": worker.card.model, "input": "D", "background": True, "conversation": name}
    assert (await gateway.post(sent, RESPONSES)).json["conversation"] == {"id": name}
    lease = await worker.take()
    await answer(worker, lease, message("E", 1))

    async def added():
        return await texts(gateway, name) == ["A", "BC", "D", "E"]

    await eventually(added, "both are there")


async def test_one_response_at_a_time_goes_on_from_it(gateway, other, worker):
    name = await make(gateway)
    sent = {"model": worker.card.model, "input": "A", "background": True, "conversation": name}
    running = (await gateway.post(sent, RESPONSES)).json["id"]
    refused = await other.post(sent, RESPONSES)
    assert (refused.status, refused.error["code"], refused.error["param"]) == (
        409,
        "conversation_locked",
        "conversation",
    )
    assert await texts(other, name) == []
    assert await worker.waiting() == 1
    await gateway.post({}, f"{RESPONSES}/{running}/cancel")
    assert (await other.post(sent, RESPONSES)).status == 200, "the other one came to nothing"
    lease = await worker.take()
    await delete(gateway, (await gateway.get(f"{RESPONSES}/resp_{lease.job.id}"))[1]["id"])
    assert (await other.post(sent, RESPONSES)).status == 200, "so did this one"


async def test_what_fails_is_not_added(gateway, worker):
    name = await make(gateway)
    task = asyncio.create_task(
        gateway.post({"model": worker.card.model, "input": "A", "conversation": name}, RESPONSES)
    )
    lease = await worker.take()
    await worker.say(lease, DOCUMENT, Data(b'{"error":{"message":"No."}}'), End(error=(400, "invalid_value")))
    await task
    await asked(gateway, worker, "B", input="C", conversation=name)
    assert await texts(gateway, name) == ["C", "B"]


async def test_it_is_free_before_a_response_that_failed_is_gone(gateway, worker, monkeypatch):
    name = await make(gateway)
    shelf, removed, turns = gateway.app.state.services.conversations.shelf, Shelf.remove, []

    async def remove(self, tenant, response_id):
        turns.append((await shelf.find(tenant, name)).turn)
        await removed(self, tenant, response_id)

    monkeypatch.setattr(Shelf, "remove", remove)
    task = asyncio.create_task(
        gateway.post({"model": worker.card.model, "input": "A", "conversation": name}, RESPONSES)
    )
    await worker.say(
        await worker.take(), DOCUMENT, Data(b'{"error":{"message":"No."}}'), End(error=(400, "invalid_value"))
    )
    await task
    await eventually(lambda: turns, "it is removed")
    assert not any(turns)


async def test_what_is_refused_before_it_is_queued_leaves_it_free(gateway, worker):
    name = await make(gateway, items=[said([{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}])])
    refused = await gateway.post({"model": worker.card.model, "input": "A", "conversation": name}, RESPONSES)
    assert (refused.status, refused.error["param"]) == (400, "conversation")
    _, page = await gateway.get(f"{CONVERSATIONS}/{name}/items")
    await remove(gateway, f"{name}/items/{page['data'][0]['id']}")
    await asked(gateway, worker, "B", input="C", conversation=name)


async def test_what_was_added_meanwhile_is_not_passed_over(gateway, worker, monkeypatch):
    name = await make(gateway)
    keeper = gateway.app.state.services.conversations
    opened = keeper.open

    async def open_and_add(*given):
        found = await opened(*given)
        await add(gateway, name, said("In between"))
        return found

    monkeypatch.setattr(conversation_keeper.ConversationKeeper, "open", lambda _, *given: open_and_add(*given))
    refused = await gateway.post({"model": worker.card.model, "input": "A", "conversation": name}, RESPONSES)
    assert (refused.status, refused.error["code"]) == (409, "conversation_locked")
    assert await worker.waiting() == 0


async def test_a_turn_of_a_response_that_is_gone_ends(gateway, worker, redis_client, settings, monkeypatch):
    name = await make(gateway)
    sent = {"model": worker.card.model, "input": "A", "background": True, "conversation": name}
    running = (await gateway.post(sent, RESPONSES)).json["id"]
    await redis_client.delete(f"{settings.redis_prefix}:{{responses:default}}:item:{running}")
    assert (await gateway.post(sent, RESPONSES)).error["code"] == "conversation_locked"
    monkeypatch.setattr(conversation_keeper, "UNKNOWN_FOR_S", -1)
    assert (await gateway.post(sent, RESPONSES)).status == 200


async def test_media_in_it_is_prepared_for_each_response(gateway, worker, worker_busy):
    url = f"data:image/png;base64,{base64.b64encode(image()).decode()}"
    name = await make(gateway, items=[said([{"type": "input_image", "image_url": url}])])
    _, body = await asked(gateway, worker, input="What?", conversation=name)
    assert body["input"][0]["content"][0]["image_url"].startswith("tessera-media:")
    estimate = await gateway.post({"model": worker.card.model, "input": "What?", "conversation": name}, "/v1/estimate")
    assert [part["path"] for part in estimate.json["parts"]] == ["earlier[0].content[0]"]


async def test_large_items_are_whole_and_too_large_ones_refused(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"responses_max_bytes": 500_000}))
    large = "long " * 60_000
    name = await make(gateway, items=[said(large)])
    assert await texts(gateway, name) == [large]
    refused = await add(gateway, name, said(large))
    assert (refused.status, refused.error["param"]) == (413, "items")
    assert await texts(gateway, name) == [large]
    refused = await gateway.post({"model": worker.card.model, "input": "x" * 600_000, "conversation": name}, RESPONSES)
    assert (refused.status, refused.error["param"]) == (413, "input")


async def test_the_oldest_give_way(start_gateway, settings, worker):
    gateway = await start_gateway(settings.model_copy(update={"responses_max_per_tenant": 2}))
    names = []
    for _ in range(3):
        names.append(await make(gateway))
        await asyncio.sleep(0.002)  # so that they do not end in the same millisecond
    assert [(await gateway.get(f"{CONVERSATIONS}/{name}"))[0] for name in names] == [404, 200, 200]


async def test_another_tenants_is_not_there(start_gateway, settings, worker, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice alices-own-key\nbob bobs-own-key\n")
    gateway = await start_gateway(settings.model_copy(update={"api_keys_file": keys}))

    async def of(tenant, path, body):
        headers = {"Authorization": f"Bearer {tenant}s-own-key"}
        return await gateway.post(body, path, headers=headers)

    name = (await of("alice", CONVERSATIONS, {})).json["id"]
    assert (await of("alice", f"{CONVERSATIONS}/{name}", {"metadata": {}})).status == 200
    body = {"model": worker.card.model, "input": "A", "conversation": name}
    for answered in (
        await of("bob", f"{CONVERSATIONS}/{name}", {"metadata": {}}),
        await of("bob", f"{CONVERSATIONS}/{name}/items", {"items": [said("A")]}),
        await of("bob", RESPONSES, body),
    ):
        assert (answered.status, answered.error["code"]) == (404, "conversation_not_found")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"metadata": 7}, "metadata"),
        ("", {"metadata": {"a": 7}}, "metadata"),
        ("", {"items": "x"}, "items"),
        ("", {"items": [said("x")] * 21}, "items"),
        ("", {"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0].type"),
        ("", {"items": [said("x"), {"role": "user"}]}, "items[1].content"),
        ("/ID", {}, "metadata"),
        ("/ID/items", {}, "items"),
        ("/ID/items", {"items": []}, "items"),
        ("/ID/items", {"items": [{"role": "tool", "content": "x"}]}, "items[0].role"),
    ],
)
async def test_what_cannot_be_one_is_refused_by_name(gateway, path, body, param):
    name = await make(gateway)
    refused = await gateway.post(body, CONVERSATIONS + path.replace("ID", name))
    assert (refused.status, refused.error["param"]) == (400, param)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"conversation": "conv_1"}, 404, "conversation"),
        ({"conversation": f"conv_{'0' * 32}"}, 404, "conversation"),
        ({"conversation": 7}, 400, "conversation"),
        ({"conversation": {}}, 400, "conversation"),
        ({"conversation": {"id": 7}}, 400, "conversation.id"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, 400, "conversation"),
        ({"conversation": "conv_1", "store": False}, 400, "store"),
    ],
)
async def test_responses_that_cannot_be_of_one(gateway, worker, body, status, param):
    refused = await gateway.post({"model": worker.card.model, "input": "A", **body}, RESPONSES)
    assert (refused.status, refused.error["param"]) == (status, param)
    assert await worker.waiting() == 0


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "order=up", "after=nothing"])
async def test_a_list_that_cannot_be(gateway, query):
    status, error = await gateway.get(f"{CONVERSATIONS}/{await make(gateway)}/items?{query}")
    assert (status, error["error"]["param"]) == (400, query.partition("=")[0])


async def test_openais_client(gateway, worker):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        made = await client.conversations.create(metadata={"a": "b"}, items=[said("Hello")])
        await client.conversations.items.create(made.id, items=[said("Again")])
        task = asyncio.create_task(
            client.responses.create(model=worker.card.model, input="Third", conversation=made.id)
        )
        lease = await worker.take()
        await answer(worker, lease, message("Fourth"))
        assert (await task).conversation.id == made.id
        listed = [item async for item in client.conversations.items.list(made.id, order="asc")]
        assert [item.role for item in listed] == ["user", "user", "user", "assistant"]
        one = await client.conversations.items.retrieve(listed[0].id, conversation_id=made.id)
        assert one.id == listed[0].id
        await client.conversations.items.delete(one.id, conversation_id=made.id)
        assert (await client.conversations.update(made.id, metadata={})).metadata == {}
        assert (await client.conversations.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.conversations.retrieve(made.id)
