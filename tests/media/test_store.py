"""What both stores do; what only the real one does is in ``test_redis_store.py``."""

from __future__ import annotations

import pytest

from tessera.errors import MediaStoreFull
from tessera.media import MemoryMediaStore, RedisMediaStore

A, B, C, D = (letter * 64 for letter in "abcd")


@pytest.fixture(params=["memory", "redis"])
def store(request, make_settings):
    if request.param == "memory":
        return MemoryMediaStore(100)
    settings = make_settings(media_store_max_bytes=100, media_store_wait_s=0.01)
    return RedisMediaStore(request.getfixturevalue("redis"), settings)


async def test_what_was_put_is_there(store):
    payload = bytes(range(100))
    assert await store.get(A) is None
    assert not await store.touch(A, "r1")
    await store.put(A, payload, "r1")
    await store.put(A, payload, "r2")
    assert await store.get(A) == payload
    assert await store.touch(A, "r1")


async def test_what_is_held_stays_and_is_not_given_away(store):
    await store.put(A, bytes(60), "r1")
    with pytest.raises(MediaStoreFull) as caught:
        await store.put(B, bytes(41), "r2")
    assert 1 <= caught.value.retry_after_s <= 10
    await store.put(B, bytes(40), "r2")
    assert (len(await store.get(A)), len(await store.get(B))) == (60, 40)


async def test_what_nobody_holds_stays_until_its_room_is_needed_and_the_longest_unused_goes_first(store):
    for digest, size in ((A, 30), (B, 30), (C, 40)):
        await store.put(digest, bytes(size), digest)
    for holder in (B, C, A):
        store.release(holder)
        await store.settle()
    assert await store.touch(B, "again")
    store.release("again")
    await store.settle()
    await store.put(D, bytes(50), "r")
    assert [await store.get(digest) is None for digest in (A, B, C)] == [True, False, True]
    assert len(await store.get(D)) == 50


async def test_an_item_that_several_hold_stays_until_the_last_lets_go(store):
    await store.put(A, bytes(60), "r1")
    assert await store.touch(A, "r2")
    for holder in ("r1", "r1", "never was"):
        store.release(holder)
        await store.settle()
    with pytest.raises(MediaStoreFull):
        await store.put(B, bytes(60), "r3")
    store.release("r2")
    await store.put(B, bytes(60), "r3")
    assert await store.get(A) is None


async def test_nothing_is_thrown_away_in_vain(store):
    await store.put(A, bytes(60), "r1")
    await store.put(B, bytes(40), "r2")
    store.release("r2")
    await store.settle()
    with pytest.raises(MediaStoreFull):
        await store.put(C, bytes(50), "r3")
    assert await store.get(B) is not None
