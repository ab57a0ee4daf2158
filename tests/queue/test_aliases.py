from __future__ import annotations

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from tessera.queue import Alias, Aliases, AliasesFull
from tessera.queue.keys import Keys
from tessera.settings import Settings

ONE = Alias("org/a: ü", {"m": 90, "n": 10}, 7)


@pytest.fixture
def aliases(redis_client: aioredis.Redis, settings: Settings) -> Aliases:
    return Aliases(redis_client, Keys(settings.redis_prefix))


async def test_each_name_stands_for_what_was_said_last_and_may_be_said_again(aliases: Aliases) -> None:
    assert await aliases.all() == {}
    later = Alias(ONE.name, {"m": 1}, 8)
    for alias in (ONE, ONE, later, later):
        await aliases.put(alias, most=1)
        assert await aliases.all() == {ONE.name: alias}
    for _ in range(2):
        await aliases.remove(ONE.name)
        assert await aliases.all() == {}


async def test_there_are_no_more_than_there_may_be(aliases: Aliases) -> None:
    await aliases.put(ONE, most=1)
    with pytest.raises(AliasesFull):
        await aliases.put(Alias("b", {"m": 1}, 7), most=1)
    assert set(await aliases.all()) == {ONE.name}


@pytest.mark.parametrize(
    "damaged",
    [
        b"{", b"[]", b"7", b"{}", b'{"targets": {}, "changed_s": 7}', b'{"targets": [], "changed_s": 7}',
        b'{"targets": {"m": 0}, "changed_s": 7}', b'{"targets": {"m": -1}, "changed_s": 7}',
        b'{"targets": {"m": "1"}, "changed_s": 7}', b'{"targets": {"m": 1}, "changed_s": null}',
    ],
)  # fmt: skip
async def test_a_damaged_record_is_told_once_and_as_if_it_were_not_there(
    aliases: Aliases, redis_client: aioredis.Redis, settings: Settings, damaged: bytes
) -> None:
    await redis_client.hset(Keys(settings.redis_prefix).aliases, "bad", damaged)
    await aliases.put(ONE, most=9)
    with capture_logs() as logs:
        for _ in range(3):
            assert await aliases.all() == {ONE.name: ONE}
    assert [(line["event"], line["alias"]) for line in logs] == [("alias_damaged", "bad")]
    await aliases.put(Alias("bad", {"m": 1}, 8), most=2)
    assert len(await aliases.all()) == 2


async def test_a_key_of_another_type_is_set_aside(
    aliases: Aliases, redis_client: aioredis.Redis, settings: Settings
) -> None:
    await redis_client.set(Keys(settings.redis_prefix).aliases, "garbage")
    assert await aliases.all() == {}
    await aliases.put(ONE, most=1)
    assert await aliases.all() == {ONE.name: ONE}


def test_a_record_of_a_newer_version_can_be_read() -> None:
    assert Alias.decode(ONE.name, ONE.encode()[:-1] + b', "later": 7}') == ONE
