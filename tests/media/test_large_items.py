"""Items that are too large for one value in Redis: they travel in parts, and nobody sees a part of one."""

from __future__ import annotations

import asyncio

import pytest

from tessera.media import RedisMediaStore
from tessera.media.receipt import PART_BYTES, WHOLE_BYTES, Receipt
from tests.media.books import PREFIX, check_books

A, B = ("a" * 64, "b" * 64)
LARGE = bytes(range(256)) * (WHOLE_BYTES // 256) + b"and a bit"
PARTS = 3


def part(number):
    return f"{PREFIX}part:{A}:{number}"


@pytest.fixture
async def open_store(redis, make_settings):
    opened = []

    def opening(**changes):
        opened.append(RedisMediaStore(redis, make_settings(**changes)))
        return opened[-1]

    yield opening
    for store in opened:
        await store.settle()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.mark.parametrize("size", [1, WHOLE_BYTES, WHOLE_BYTES + 1, 2 * WHOLE_BYTES, 2 * WHOLE_BYTES + PART_BYTES // 2])
async def test_an_item_of_any_size_comes_out_as_it_went_in(redis, store, size):
    payload = LARGE[:size] if size <= len(LARGE) else (LARGE * 3)[:size]
    assert await store.put(A, memoryview(payload), "r1")
    assert bytes(await store.get(A)) == payload
    assert not await store.put(A, payload, "r2")
    assert (await check_books(redis)).sizes == {A: size}


async def test_no_value_is_above_eight_mebibytes_and_everything_expires(redis, store):
    await store.put(A, LARGE * 3, "r1")
    largest = 0
    for key in await redis.keys("*"):
        assert 590 < await redis.ttl(key) <= 660
        if await redis.type(key) == b"string":
            largest = max(largest, await redis.strlen(key))
    assert PART_BYTES <= largest <= WHOLE_BYTES == 8 << 20


async def test_what_is_only_half_there_is_not_there(redis, store, wait_for):
    for number in range(PARTS - 1):
        await redis.set(part(number), LARGE[number * PART_BYTES : (number + 1) * PART_BYTES])
    assert await store.get(A) is None
    assert not await store.touch(A, "r1")
    assert await store.put(A, LARGE, "r1")
    assert bytes(await store.get(A)) == LARGE


async def test_what_a_gateway_left_half_written_goes_when_its_room_does(redis, store, monkeypatch, wait_for):
    stopped = asyncio.Event()

    async def stop(digest, receipt):
        stopped.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store._ledger, "complete", stop)
    writing = asyncio.create_task(store.put(A, LARGE, "r1"))
    await stopped.wait()
    for number in range(PARTS):
        assert 590 < await redis.ttl(part(number)) <= 600, "it goes also where all who know of it die"
    assert await store.get(A) is None
    assert (await check_books(redis)).sizes == {A: len(LARGE)}
    writing.cancel()
    await asyncio.wait([writing])
    store.release("r1")
    await store.settle()
    assert (await check_books(redis)).sizes == {}
    assert await redis.keys("*part*") == []


@pytest.mark.parametrize("lost", [slice(None), slice(1), slice(1, None)])
async def test_an_item_whose_room_was_given_away_while_it_was_sent_is_sent_again(redis, store, monkeypatch, lost):
    complete, calls = store._ledger.complete, 0

    async def interrupted(digest, receipt):
        nonlocal calls
        calls += 1
        if calls == 1:
            await redis.delete(*(part(number) for number in range(PARTS)[lost]))
        return await complete(digest, receipt)

    monkeypatch.setattr(store._ledger, "complete", interrupted)
    async with asyncio.timeout(20):
        assert await store.put(A, LARGE, "r1")
    assert calls == 2
    assert bytes(await store.get(A)) == LARGE
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


async def test_an_item_that_two_gateways_send_at_once_is_whole(redis, open_store):
    stores = [open_store() for _ in range(3)]
    await asyncio.gather(*(store.put(A, LARGE, f"r{n}") for n, store in enumerate(stores)))
    assert bytes(await stores[0].get(A)) == LARGE
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


@pytest.mark.parametrize("number", range(PARTS))
async def test_an_item_that_lost_a_part_is_not_there_and_can_be_sent_again(redis, store, number):
    await store.put(A, LARGE, "r1")
    await redis.delete(part(number))
    assert await store.get(A) is None
    assert not await store.touch(A, "r2")
    assert await store.put(A, LARGE, "r2")
    assert bytes(await store.get(A)) == LARGE
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


async def test_a_damaged_receipt_or_part_is_no_item(redis, store):
    await store.put(A, LARGE, "r1")
    await redis.set(part(1), LARGE[: PART_BYTES + 1])
    assert await store.get(A) is None
    await redis.set(part(1), b"short")
    assert await store.get(A) is None


async def test_what_makes_room_takes_its_parts_with_it(redis, open_store):
    store = open_store(media_store_max_bytes=len(LARGE) + 10)
    await store.put(A, LARGE, "r1")
    store.release("r1")
    await store.put(B, bytes(20), "r2")
    assert (await check_books(redis)).sizes == {B: 20}
    assert await redis.keys("*part*") == []


async def test_a_large_item_of_a_gateway_of_an_earlier_version_is_read(redis, store):
    await redis.set(f"{PREFIX}data:{A}", LARGE, px=600_000)
    assert await store.touch(A, "r1")
    assert await store.get(A) == LARGE
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


async def test_an_item_that_came_after_its_room_was_given_away_counts_as_large_as_it_is(redis, store):
    await store.put(A, LARGE, "r1")
    store.release("r1")
    await store.settle()
    for key in ("sizes", "bytes", "holds", "counts", "idle"):
        await redis.delete(PREFIX + key)
    assert await store.touch(A, "r2")
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


async def test_redis_knows_the_same_sizes_as_we_do(redis, store):
    """All parts of an item are kept alive with it, whatever its size."""
    for size in (WHOLE_BYTES + 1, 3 * PART_BYTES, 3 * PART_BYTES + 1):
        await store.put(A, (LARGE * 2)[:size], "r1")
        keys = await redis.keys("*part*")
        assert len(keys) == -(-size // PART_BYTES)
        for key in keys:
            await redis.pexpire(key, 5000)
        assert await store.touch(A, "r1")
        assert all([await redis.ttl(key) > 500 for key in keys])
        store.release("r1")
        await store.settle()
        await store._ledger.evict(size)
        assert await redis.keys("*part*") == []


def test_a_receipt_is_no_payload_and_a_payload_no_receipt():
    receipt = Receipt.of(memoryview(LARGE))
    assert Receipt.decode(receipt.encode()) == receipt == Receipt(len(LARGE), PARTS)
    for value in (b"", LARGE, receipt.encode() + b" ", b"TSSRSEE1 1 parts x", b"TSSRMED1"):
        assert Receipt.decode(value) is None
