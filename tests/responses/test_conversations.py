from __future__ import annotations

import pytest
import redis.asyncio as aioredis

from tessera.responses import Conversation, ConversationGone, Conversations, ConversationTooLarge, new_conversation_id
from tessera.settings import Settings

TENANT = "alice"
ITEM = {"type": "message", "role": "user", "content": "Hello, 日本"}


@pytest.fixture
def shelf(redis_client: aioredis.Redis, settings: Settings) -> Conversations:
    return Conversations(redis_client, settings)


@pytest.fixture
async def name(shelf: Conversations) -> str:
    made = Conversation(new_conversation_id(), 7, {"a": "b"})
    await shelf.put(TENANT, made, new=True)
    assert await shelf.find(TENANT, made.id) == made
    return made.id


async def ids(shelf: Conversations, name: str) -> list[str]:
    return [item.id for item in (await shelf.find(TENANT, name)).items]


async def taken(shelf: Conversations, redis: aioredis.Redis, settings: Settings) -> int:
    """Bytes of all, as they are counted."""
    return int(await redis.hget(f"{settings.redis_prefix}:{{conversations:{TENANT}}}:bytes", "=") or 0)


async def test_items_are_in_the_order_in_which_they_were_added(shelf: Conversations, name: str) -> None:
    assert await shelf.append(TENANT, name, [("a", ITEM), ("b", ITEM)]) == 1
    assert await shelf.append(TENANT, name, [(f"c{n}", ITEM) for n in range(10)]) == 3
    assert await shelf.drop(TENANT, name, 2)
    assert not await shelf.drop(TENANT, name, 2)
    assert await shelf.append(TENANT, name, [("d", ITEM)]) == 13
    assert await ids(shelf, name) == ["a", *(f"c{n}" for n in range(10)), "d"]


async def test_what_was_lost_on_its_way_may_be_done_again(shelf: Conversations, name: str) -> None:
    for _ in range(2):
        assert await shelf.append(TENANT, name, [("a", ITEM), ("b", ITEM)]) == 1
    found = await shelf.find(TENANT, name)
    for _ in range(2):
        assert await shelf.take_turn(TENANT, found, "resp_1")
    for _ in range(2):
        await shelf.append(TENANT, name, [("c", ITEM)], turn="resp_1")
    assert await ids(shelf, name) == ["a", "b", "c"]


async def test_one_response_has_the_turn_and_adds_once(shelf: Conversations, name: str) -> None:
    empty = await shelf.find(TENANT, name)
    assert await shelf.append(TENANT, name, [("a", ITEM)], turn="resp_1") == 0, "it has not taken it"
    assert await shelf.take_turn(TENANT, empty, "resp_1")
    assert not await shelf.take_turn(TENANT, empty, "resp_2")
    await shelf.leave_turn(TENANT, name, "resp_2")
    assert (await shelf.find(TENANT, name)).turn == "resp_1", "that one has none to leave"
    assert await shelf.append(TENANT, name, [("a", ITEM)], turn="resp_1") == 1
    assert not await shelf.take_turn(TENANT, empty, "resp_2"), "something was added since"
    now = await shelf.find(TENANT, name)
    assert (now.turn, now.last) == ("", 1)
    assert await shelf.take_turn(TENANT, now, "resp_2")
    await shelf.leave_turn(TENANT, name, "resp_2")
    assert await shelf.take_turn(TENANT, now, "resp_3")


async def test_what_they_take_is_counted(
    shelf: Conversations, name: str, redis_client: aioredis.Redis, settings: Settings
) -> None:
    empty = await taken(shelf, redis_client, settings)
    await shelf.append(TENANT, name, [("a", ITEM)])
    one = await taken(shelf, redis_client, settings)
    await shelf.append(TENANT, name, [("b", ITEM)])
    assert await taken(shelf, redis_client, settings) - one == one - empty > len(str(ITEM["content"]))
    for place in (1, 2):
        await shelf.drop(TENANT, name, place)
    assert await taken(shelf, redis_client, settings) == empty
    await shelf.remove(TENANT, name)
    assert await taken(shelf, redis_client, settings) == 0


async def test_too_much_of_one_and_of_all(redis_client: aioredis.Redis, settings: Settings) -> None:
    limits = {"responses_max_bytes": 2000, "responses_max_bytes_per_tenant": 2500}
    shelf = Conversations(redis_client, settings.model_copy(update=limits))
    large = {**ITEM, "content": "x" * 1500}
    names = [new_conversation_id() for _ in range(2)]
    for name in names:
        await shelf.put(TENANT, Conversation(name, 7, {}), new=True)
    await shelf.append(TENANT, names[0], [("a", large)])
    with pytest.raises(ConversationTooLarge):
        await shelf.append(TENANT, names[0], [("b", large)])
    await shelf.append(TENANT, names[1], [("a", large)])
    with pytest.raises(ConversationGone):
        await shelf.find(TENANT, names[0])
    assert await shelf.take_turn(TENANT, await shelf.find(TENANT, names[1]), "resp_1")
    assert await shelf.append(TENANT, names[1], [("b", large)], turn="resp_1") == 2, "what a model said is not lost"


async def test_what_is_not_there(
    shelf: Conversations, name: str, redis_client: aioredis.Redis, settings: Settings
) -> None:
    found = await shelf.find(TENANT, name)
    for missing in ("conv_x", "x\n", new_conversation_id()):
        with pytest.raises(ConversationGone):
            await shelf.find(TENANT, missing)
    with pytest.raises(ConversationGone):
        await shelf.find("bob", name)
    await shelf.remove(TENANT, name)
    with pytest.raises(ConversationGone):
        await shelf.append(TENANT, name, [("a", ITEM)])
    with pytest.raises(ConversationGone):
        await shelf.take_turn(TENANT, found, "resp_1")
    with pytest.raises(ConversationGone):
        await shelf.put(TENANT, found, new=False)
    await shelf.put(TENANT, found, new=True)
    await redis_client.hset(f"{settings.redis_prefix}:{{conversations:{TENANT}}}:item:{name}", "meta", "damaged")
    with pytest.raises(ConversationGone):
        await shelf.find(TENANT, name)
