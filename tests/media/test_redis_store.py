from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from tessera.errors import MediaStoreFull, MediaStoreUnavailable, MediaTooLarge
from tessera.media import RedisMediaStore
from tessera.redis_direct import Direct
from tests.media.books import PREFIX, check_books

A, B, C = (letter * 64 for letter in "abc")


@pytest.fixture
async def open_store(redis, make_settings):
    """Opens stores of several gateways on one Redis."""
    opened = []

    def opening(**changes):
        opened.append(RedisMediaStore(redis, make_settings(**{"media_store_wait_s": 0.01, **changes})))
        return opened[-1]

    yield opening
    for store in opened:
        await store.settle()


@pytest.fixture
def store(open_store):
    return open_store()


async def test_the_books_are_right_and_everything_expires(redis, store):
    await store.put(A, bytes(10), "r1")
    await store.put(B, bytes(20), "r1")
    await store.put(A, bytes(10), "r2")
    books = await check_books(redis)
    assert books.sizes == {A: 10, B: 20}
    assert books.holds == {(A, "r1"), (A, "r2"), (B, "r1")}
    assert books.idle == []
    for key in await redis.keys("*"):
        assert 590 < await redis.ttl(key) <= 660


async def test_what_is_released_is_idle_and_what_was_lost_is_forgotten(redis, store):
    await store.put(A, bytes(10), "r1")
    store.release("r1")
    await store.settle()
    assert (await check_books(redis)).idle == [A]
    await redis.delete(f"{PREFIX}data:{A}")
    assert not await store.touch(A, "r2")
    assert (await check_books(redis)).sizes == {}
    await store.put(A, bytes(10), "r2")
    await redis.delete(f"{PREFIX}data:{A}")
    await store.put(A, bytes(10), "r3")
    assert await store.get(A) == bytes(10)
    assert (await check_books(redis)).sizes == {A: 10}


async def test_a_payload_that_is_there_is_not_sent_again(redis, store):
    await store.put(A, bytes(300_000), "r1")
    await redis.config_resetstat()
    await store.put(A, bytes(300_000), "r2")
    assert "cmdstat_set" not in await redis.info("commandstats")


async def test_a_small_payload_is_sent_along_and_goes_where_it_is_there_or_has_no_room(redis, open_store):
    store = open_store(media_store_max_bytes=100, media_store_wait_s=0.1)
    assert await store.put(A, bytes(60), "r1")
    assert not await store.put(A, bytes(60), "r2")
    with pytest.raises(MediaStoreFull):
        await store.put(B, bytes(60), "r3")
    assert await redis.keys(f"{PREFIX}*:[0-9a-f]*") == [f"{PREFIX}data:{A}".encode()]
    assert await redis.pttl(f"{PREFIX}data:{A}") > 10_000


async def test_what_was_sent_along_goes_by_itself_where_nobody_takes_it(redis, store):
    await redis.set(f"{PREFIX}sizes", "no hash")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await store.put(A, b"x", "r")
    assert 0 < await redis.pttl(f"{PREFIX}sent:{A}") <= 10_000
    await redis.delete(f"{PREFIX}sizes")
    assert await store.put(A, b"x", "r")
    assert await redis.keys(f"{PREFIX}*{A}") == [f"{PREFIX}data:{A}".encode()]


async def test_small_payloads_are_stored_by_the_question_for_room(redis, store):
    await store.put(A, bytes(10), "r")
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    # Some twice, some there already, more bytes than go into one call.
    digests = [A, *(f"{number:064x}" for number in range(30))] * 2
    sent = await asyncio.gather(
        *(store.put(d, bytes(100_000 if d != A else 10), f"r{n}") for n, d in enumerate(digests))
    )
    assert sum(sent) == 30
    books = await check_books(redis)
    assert len(books.holds) == 63
    assert set(books.sizes) == set(digests)
    # Two calls of the first turn, and those that 60 payloads of 100 kB fill.
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before <= 9


async def test_a_small_payload_for_which_others_have_to_leave_is_stored_too(redis, open_store):
    store = open_store(media_store_max_bytes=100)
    await store.put(A, bytes(60), "r1")
    store.release("r1")
    await store.settle()
    assert await store.put(B, bytes(60), "r2")
    assert await store.get(B) == bytes(60)
    assert (await check_books(redis)).sizes == {B: 60}


async def test_room_is_exact_and_what_can_never_fit_is_refused_at_once(redis, open_store):
    store = open_store(media_store_max_bytes=100, media_store_wait_s=600)
    await store.put(A, bytes(60), "r1")
    await store.put(B, bytes(40), "r2")
    for size, holder in ((101, "r3"), (50, "r1")):
        with pytest.raises(MediaTooLarge, match="room for 100"):
            await store.put(C, bytes(size), holder)
    # What the request holds already is not counted twice.
    await store.put(A, bytes(60), "r1")
    assert (await check_books(redis)).sizes == {A: 60, B: 40}


async def test_a_request_waits_for_the_room_that_another_leaves(redis, open_store, wait_for):
    here, there = (open_store(media_store_max_bytes=100, media_store_wait_s=600) for _ in range(2))
    await here.put(A, bytes(60), "r1")
    async with asyncio.timeout(10):
        for leaving in (here, there):
            waiting = asyncio.create_task(here.put(C if leaving is here else B, bytes(60), "r2"))
            await asyncio.sleep(0)
            assert not waiting.done()
            leaving.release("r1")
            await waiting
            here.release("r2")
            await there.put(A, bytes(60), "r1")


async def test_requests_that_wait_for_each_other_go_on(redis, open_store):
    store = open_store(media_store_max_bytes=100, media_store_wait_s=0.2)

    async def request(holder, first, second):
        try:
            await store.put(first, bytes(50), holder)
            await both.wait()
            await store.put(second, bytes(50), holder)
            return "answered"
        except MediaStoreFull:
            return "refused"
        finally:
            store.release(holder)

    both = asyncio.Barrier(2)
    async with asyncio.timeout(10):
        ends = await asyncio.gather(request("r1", A, B), request("r2", C, "d" * 64))
    assert "refused" in ends
    await store.put("e" * 64, bytes(100), "r3")


async def test_many_small_entries_make_room_for_a_large_one(redis, open_store):
    store = open_store(media_store_max_bytes=1000)
    for number in range(250):
        await store.put(f"{number:064x}", bytes(4), f"r{number}")
    for number in range(250):
        store.release(f"r{number}")
        await store.settle()
    await store.put(A, bytes(900), "r")
    books = await check_books(redis)
    assert books.sizes.pop(A) == 900
    assert sorted(books.sizes) == [f"{number:064x}" for number in range(225, 250)]


async def test_the_holds_of_a_dead_gateway_end_and_those_of_a_living_one_do_not(redis, open_store, wait_for):
    short = {"media_store_max_bytes": 100, "media_hold_lease_s": 0.4, "media_store_ttl_s": 1}
    living, dead = open_store(**short), open_store(**short)
    renewing = asyncio.create_task(living.run())
    await living.put(A, bytes(30), "r1")
    await dead.put(B, bytes(30), "r2")

    async def lapsed():
        return (await check_books(redis)).holds == {(A, "r1")}

    await wait_for(lapsed)

    async def forgotten():
        return (await check_books(redis)).sizes == {A: 30}

    # Longer than the living one's payload would have lived without being renewed.
    await wait_for(forgotten)
    assert await living.get(A) == bytes(30)
    renewing.cancel()


async def test_room_of_a_dead_gateway_is_found_by_who_needs_it(redis, open_store):
    await open_store(media_store_max_bytes=100, media_hold_lease_s=0.01).put(A, bytes(60), "r1")
    async with asyncio.timeout(10):
        await open_store(media_store_max_bytes=100, media_store_wait_s=600).put(B, bytes(60), "r2")
    assert (await check_books(redis)).sizes == {B: 60}


async def test_a_request_that_is_cancelled_while_it_stores_leaves_nothing_held(redis, store):
    for delay in range(12):
        putting = asyncio.create_task(store.put(A, bytes(1000), "r1"))
        for _ in range(delay):
            await asyncio.sleep(0)
        putting.cancel()
        await asyncio.wait([putting])
        store.release("r1")
        await store.settle()
        assert (await check_books(redis)).holds == set()


async def test_touches_of_one_turn_go_together(redis, store):
    await store.put(A, b"x", "r")
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    answers = await asyncio.gather(*(store.touch(digest, f"r{n}") for n, digest in enumerate([A, B] * 50)))
    assert answers == [True, False] * 50
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before <= 2
    assert len((await check_books(redis)).holds) == 51


async def test_a_cancelled_touch_leaves_the_others_alone(redis, store):
    await store.put(A, b"x", "r")
    first, second = (asyncio.create_task(store.touch(A, f"r{n}")) for n in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert first.cancelled() or (await asyncio.wait([first]) and first.cancelled())


async def test_a_store_forgets_scripts_and_goes_on(redis, store):
    await store.put(A, b"x", "r")
    await redis.script_flush()
    assert await store.touch(A, "r")
    await redis.script_flush()
    await store.put(B, b"x", "r")
    assert (await check_books(redis)).sizes == {A: 1, B: 1}


async def test_a_redis_with_less_memory_than_the_store_has_room_gives_idle_media_away(redis, open_store):
    store = open_store(media_store_wait_s=5)
    await store.put(A, bytes(4 << 20), "r1")
    await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] + (1 << 20))
    store.release("r1")
    await store.settle()
    await store.put(B, bytes(4 << 20), "r2")
    assert (await check_books(redis)).sizes == {B: 4 << 20}
    await redis.config_set("maxmemory", 1)
    # Holds begin, live on and end where there is no memory.
    assert await store.touch(B, "r3")
    await store._ledger.renew()
    with pytest.raises(MediaStoreFull):
        await open_store().put(C, bytes(1000), "r4")
    for holder in ("r2", "r3"):
        store.release(holder)
    await store.settle()
    await redis.config_set("maxmemory", 0)
    assert (await check_books(redis)).idle == [B]


async def test_a_payload_that_came_too_late_is_entered_into_the_books(redis, open_store):
    store = open_store(media_store_max_bytes=100)
    await redis.set(f"{PREFIX}data:{A}", bytes(30), px=60_000)
    assert await store.touch(A, "r1")
    await redis.set(f"{PREFIX}data:{B}", bytes(30), px=60_000)
    await store.put(B, bytes(30), "r2")
    books = await check_books(redis)
    assert (books.sizes, books.holds) == ({A: 30, B: 30}, {(A, "r1"), (B, "r2")})


async def test_an_unreachable_redis_is_unavailable(make_settings, tmp_path):
    client = Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    store = RedisMediaStore(client, make_settings(media_hold_lease_s=0.04))
    for call in (store.get(A), store.put(A, b"x", "r"), store.touch(A, "r")):
        with pytest.raises(MediaStoreUnavailable):
            await call
    errors = await asyncio.gather(store.touch(A, "r"), store.touch(A, "r"), return_exceptions=True)
    assert errors[0] is not errors[1]
    await client.aclose()


async def test_holds_that_end_during_an_outage_are_ended_after_it(redis, redis_socket, store, wait_for, monkeypatch):
    await store.put(A, b"x", "r")
    away = Redis(unix_socket_path=redis_socket + "-none", retry=Retry(NoBackoff(), 0))
    direct = store._ledger._direct
    monkeypatch.setattr(store._ledger, "_direct", Direct(away))
    store.release("r")
    await store.settle()
    monkeypatch.setattr(store._ledger, "_direct", direct)
    assert (await check_books(redis)).holds == {(A, "r")}
    await store._ledger.renew()
    await store.settle()
    assert (await check_books(redis)).idle == [A]
    await away.aclose()


async def test_an_outage_is_logged_once(make_settings, redis_socket, tmp_path, wait_for):
    socket = tmp_path / "s"
    client = Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))
    with capture_logs() as logs:
        running = asyncio.create_task(RedisMediaStore(client, make_settings(media_hold_lease_s=0.02)).run())
        await wait_for(lambda: logs)
        socket.symlink_to(redis_socket)
        await wait_for(lambda: len(logs) == 2)
    running.cancel()
    assert [line["event"] for line in logs] == ["media_store_unreachable", "media_store_reachable"]
    await client.aclose()


async def test_a_call_that_is_cut_off_fails_for_those_who_wait(make_settings, monkeypatch):
    async def hang(*_, **__):
        await asyncio.Event().wait()

    client = Redis()
    store = RedisMediaStore(client, make_settings())
    monkeypatch.setattr(store._ledger._direct, "command", hang)
    waiting = asyncio.create_task(store.touch(A, "r"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store._ledger._caller.cancel()
    with pytest.raises(MediaStoreUnavailable, match="closed"):
        await waiting
    await client.aclose()


async def test_other_errors_of_redis_are_not_hidden(redis, store):
    await redis.set(f"{PREFIX}holds", "not a sorted set")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await store.put(A, b"x", "r")
