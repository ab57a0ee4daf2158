from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from tessera.errors import MediaStoreFull, MediaTooLarge, QueueUnavailable
from tessera.media import MemoryMediaStore, RedisMediaStore

A, B, C = (letter * 64 for letter in "abc")


async def books(redis):
    used = {name.decode() for name in await redis.zrange("tessera:{media}:used", 0, -1)}
    sizes = {name.decode(): int(size) for name, size in (await redis.hgetall("tessera:{media}:sizes")).items()}
    total = int(await redis.get("tessera:{media}:total") or 0)
    assert used == set(sizes)
    assert total == sum(sizes.values())
    return sizes


async def age(redis, digest, seconds):
    """Make the last use of an entry ``seconds`` older."""
    await redis.zincrby("tessera:{media}:used", -seconds * 1000, digest)


@pytest.fixture(params=["memory", "redis"])
def store(request, settings):
    return (
        MemoryMediaStore() if request.param == "memory" else RedisMediaStore(request.getfixturevalue("redis"), settings)
    )


async def test_what_was_put_is_there(store):
    payload = bytes(range(256)) * 100
    assert await store.get(A) is None
    assert not await store.touch(A)
    await store.put(A, payload)
    await store.put(A, payload)
    assert await store.get(A) == payload
    assert await store.touch(A)


async def test_memory_store_fills_up():
    store = MemoryMediaStore(max_bytes=10)
    await store.put(A, bytes(10))
    await store.put(A, bytes(10))
    with pytest.raises(MediaStoreFull) as caught:
        await store.put(B, b"x")
    assert caught.value.retry_after_s == 1


async def test_the_books_are_right_and_keys_expire(redis, settings):
    store = RedisMediaStore(redis, settings)
    await store.put(A, bytes(10))
    await store.put(B, bytes(20))
    await store.put(A, bytes(10))
    assert await books(redis) == {A: 10, B: 20}
    assert 590 < await redis.ttl(f"tessera:{{media}}:data:{A}") <= 600


async def test_touch_prolongs_life(redis, settings):
    store = RedisMediaStore(redis, settings)
    await store.put(A, b"x")
    await redis.expire(f"tessera:{{media}}:data:{A}", 5)
    await age(redis, A, 100)
    before = await redis.zscore("tessera:{media}:used", A)
    assert await store.touch(A)
    assert await redis.ttl(f"tessera:{{media}}:data:{A}") > 500
    assert await redis.zscore("tessera:{media}:used", A) > before + 90_000


async def test_an_entry_that_redis_lost_leaves_the_books_when_touched_or_put(redis, settings):
    store = RedisMediaStore(redis, settings)
    await store.put(A, bytes(10))
    await redis.delete(f"tessera:{{media}}:data:{A}")
    assert not await store.touch(A)
    assert await books(redis) == {}
    await store.put(A, bytes(10))
    await redis.delete(f"tessera:{{media}}:data:{A}")
    await store.put(A, bytes(10))
    assert await books(redis) == {A: 10}


async def test_expired_entries_make_room(redis, make_settings):
    store = RedisMediaStore(redis, make_settings(media_store_max_bytes=100, media_store_ttl_s=600))
    await store.put(A, bytes(100))
    await redis.delete(f"tessera:{{media}}:data:{A}")
    await age(redis, A, 601)
    await store.put(B, bytes(100))
    assert await books(redis) == {B: 100}


async def test_a_key_really_expires(redis, make_settings, wait_for):
    store = RedisMediaStore(redis, make_settings(media_store_ttl_s=1))
    await store.put(A, b"x")

    async def gone():
        return await store.get(A) is None

    await wait_for(gone)
    assert not await store.touch(A)


async def test_room_is_exact_and_a_full_store_says_when_to_come_back(redis, make_settings):
    store = RedisMediaStore(redis, make_settings(media_store_max_bytes=100, queue_timeout_s=300))
    await store.put(A, bytes(60))
    await age(redis, A, 200)
    await store.put(B, bytes(40))
    with pytest.raises(MediaStoreFull) as caught:
        await store.put(C, b"x")
    assert 95 <= caught.value.retry_after_s <= 100
    with pytest.raises(MediaStoreFull) as caught:
        await store.put(C, bytes(61))
    assert caught.value.retry_after_s > 290
    assert await books(redis) == {A: 60, B: 40}
    with pytest.raises(MediaTooLarge):
        await store.put(C, bytes(101))


async def test_idle_entries_are_evicted_longest_unused_first(redis, make_settings):
    store = RedisMediaStore(redis, make_settings(media_store_max_bytes=100, queue_timeout_s=300))
    for digest, idle in ((A, 310), (B, 400), (C, 10)):
        await store.put(digest, bytes(30))
        await age(redis, digest, idle)
    new = "d" * 64
    await store.put(new, bytes(40))
    assert await books(redis) == {A: 30, C: 30, new: 40}
    assert await store.get(B) is None


async def test_many_small_entries_are_evicted_for_a_large_one(redis, make_settings):
    store = RedisMediaStore(redis, make_settings(media_store_max_bytes=1000, queue_timeout_s=300))
    for number in range(250):
        await store.put(f"{number:064x}", bytes(4))
        await age(redis, f"{number:064x}", 400 - number / 10)
    await store.put(A, bytes(900))
    sizes = await books(redis)
    assert sizes.pop(A) == 900
    assert sorted(sizes) == [f"{number:064x}" for number in range(225, 250)]


async def test_touches_of_one_turn_go_together(redis, settings):
    store = RedisMediaStore(redis, settings)
    await store.put(A, b"x")
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    answers = await asyncio.gather(*(store.touch(digest) for digest in [A, B] * 50))
    assert answers == [True, False] * 50
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before <= 2


async def test_a_cancelled_touch_leaves_the_others_alone(redis, settings):
    store = RedisMediaStore(redis, settings)
    await store.put(A, b"x")
    first, second = (asyncio.create_task(store.touch(A)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert first.cancelled() or (await asyncio.wait([first]) and first.cancelled())


async def test_a_store_forgets_scripts_and_goes_on(redis, settings):
    store = RedisMediaStore(redis, settings)
    await store.put(A, b"x")
    await redis.script_flush()
    assert await store.touch(A)
    await redis.script_flush()
    await store.put(B, b"x")
    assert await books(redis) == {A: 1, B: 1}


async def test_redis_out_of_memory_is_a_full_store(redis, settings):
    store = RedisMediaStore(redis, settings)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(MediaStoreFull):
        await store.put(A, bytes(1000))
    await redis.config_set("maxmemory", 0)
    assert await books(redis) == {}


async def test_an_unreachable_redis_is_unavailable(settings, tmp_path):
    client = Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    store = RedisMediaStore(client, settings)
    for call in (store.get(A), store.put(A, b"x"), store.touch(A)):
        with pytest.raises(QueueUnavailable):
            await call
    errors = await asyncio.gather(store.touch(A), store.touch(A), return_exceptions=True)
    assert errors[0] is not errors[1]
    await client.aclose()


async def test_a_touch_that_is_cut_off_fails_for_those_who_wait(settings):
    async def hang(**_):
        await asyncio.Event().wait()

    client = Redis()
    store = RedisMediaStore(client, settings)
    store._touch = hang
    waiting = asyncio.create_task(store.touch(A))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store._flusher.cancel()
    with pytest.raises(QueueUnavailable, match="closed"):
        await waiting
    await client.aclose()


async def test_other_errors_of_redis_are_not_hidden(redis, settings):
    await redis.set("tessera:{media}:used", "not a sorted set")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await RedisMediaStore(redis, settings).put(A, b"x")
