from __future__ import annotations

import pytest
import redis.asyncio as aioredis

from tessera.queue import Adapter, Adapters, AdaptersFull
from tessera.queue.keys import Keys
from tessera.settings import Settings

ONE = Adapter("a/ü", "m", "/adapters/1")


@pytest.fixture
def adapters(redis_client: aioredis.Redis, settings: Settings) -> Adapters:
    return Adapters(redis_client, Keys(settings.redis_prefix))


async def test_a_record_takes_the_place_of_the_one_that_it_was_made_from(adapters: Adapters) -> None:
    assert await adapters.find(ONE.name) is None
    assert await adapters.replace(ONE.name, None, ONE, most=9)
    later = Adapter(ONE.name, "m", "/adapters/2", fused=True)
    assert later.version != ONE.version
    assert not await adapters.replace(ONE.name, None, later, most=9), "there is one"
    assert not await adapters.replace(ONE.name, later, None, most=9), "it is another one"
    assert await adapters.replace(ONE.name, ONE, later, most=9)
    assert await adapters.find(ONE.name) == later
    assert await adapters.replace(ONE.name, later, None, most=9)
    assert not await adapters.replace(ONE.name, later, ONE, most=9), "somebody has removed it"
    assert await adapters.find(ONE.name) is None


async def test_a_change_whose_answer_was_lost_may_be_made_again(adapters: Adapters) -> None:
    for before, after in ((None, ONE), (ONE, later := Adapter(ONE.name, "m", "/adapters/2")), (later, None)):
        for _ in range(2):
            assert await adapters.replace(ONE.name, before, after, most=1)
            assert await adapters.find(ONE.name) == after


async def test_each_model_has_its_own(adapters: Adapters) -> None:
    other = Adapter("b", "n", "/adapters/b")
    for adapter in (ONE, other):
        assert await adapters.replace(adapter.name, None, adapter, most=9)
    assert await adapters.of("m") == {ONE.name: ONE}
    assert await adapters.of("n") == {"b": other}
    assert await adapters.of("o") == {}


async def test_there_are_no_more_than_there_may_be(adapters: Adapters) -> None:
    await adapters.replace(ONE.name, None, ONE, most=1)
    with pytest.raises(AdaptersFull):
        await adapters.replace("b", None, Adapter("b", "m", "/b"), most=1)
    assert await adapters.replace(ONE.name, ONE, Adapter(ONE.name, "m", "/2"), most=1), "it takes no more room"


@pytest.mark.parametrize(
    "damaged", [b"{", b"[]", b"7", b'{"name": "a/\\u00fc"}', b'{"name": 1, "model": "m", "path": "p", "version": "v"}']
)
async def test_a_damaged_record_is_as_if_it_were_not_there(
    adapters: Adapters, redis_client: aioredis.Redis, settings: Settings, damaged: bytes
) -> None:
    key = Keys(settings.redis_prefix).adapters
    await redis_client.hset(key, ONE.name, damaged)
    assert await adapters.find(ONE.name) is None
    assert await adapters.of("m") == {}
    if b'"version"' not in damaged:
        assert await adapters.replace(ONE.name, None, ONE, most=1)
        assert await adapters.find(ONE.name) == ONE


def test_a_record_of_a_newer_version_can_be_read() -> None:
    assert Adapter.decode(ONE.encode()[:-1] + b', "later": 7}') == ONE
