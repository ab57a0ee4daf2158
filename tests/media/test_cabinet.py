"""Large items outside of Redis: they come and go with their entries in the books, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from structlog.testing import capture_logs

from tessera.errors import MediaStoreUnavailable
from tessera.media import RedisMediaStore
from tessera.storage import open_storage
from tests.media.books import PREFIX, check_books

A, B, C = (letter * 64 for letter in "abc")
LARGE, SMALL = bytes(range(256)) * 10, bytes(100)


class Directory:
    """What lies in the place where large items are kept."""

    def __init__(self, root: Path):
        self.root = root
        self.url = root.as_uri()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*") if path.is_file())

    def clear(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file():
                path.unlink()

    def add(self, name: str) -> None:
        (self.root / "tessera-media").mkdir(parents=True, exist_ok=True)
        (self.root / "tessera-media" / name).write_bytes(b"x")


class Bucket:
    """The same in object storage."""

    url = "s3://media/some/prefix"

    def __init__(self) -> None:
        self.store = open_storage(self.url, timeout_s=30)

    def _paths(self) -> list[str]:
        return [item["path"] for item in obstore.list(self.store).collect()]

    def names(self) -> list[str]:
        return sorted(path.rpartition("/")[2] for path in self._paths())

    def clear(self) -> None:
        for path in self._paths():
            self.store.delete(path)

    def add(self, name: str) -> None:
        self.store.put(f"tessera-media/{name}", b"x")


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path / "shared volume")


@pytest.fixture
def bucket(s3_server, monkeypatch):
    access = {"ENDPOINT_URL": s3_server, "REGION": "eu-west-1"}
    for name, value in {**access, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for method in ("DELETE", "PUT"):
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(f"{s3_server}/media", method=method)).close()
    bucket = Bucket()
    bucket.clear()
    return bucket


@pytest.fixture(params=["directory", "bucket"])
def place(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
async def open_store(redis, make_settings, place):
    opened = []
    where = {"media_store_url": place.url, "media_redis_max_item_bytes": len(SMALL), "media_store_wait_s": 5}

    def opening(**changes):
        opened.append(RedisMediaStore(redis, make_settings(**{**where, **changes})))
        return opened[-1]

    yield opening
    for store in opened:
        await store.settle()


@pytest.fixture
def store(open_store):
    return open_store()


async def test_large_items_are_kept_outside_of_redis_and_small_ones_in_it(redis, store, open_store, place):
    assert await store.put(A, memoryview(LARGE), "r1")
    assert await store.put(B, SMALL, "r1")
    assert not await store.put(A, LARGE, "r2")
    [name] = place.names()
    assert name.startswith(A)
    assert await redis.strlen(f"{PREFIX}data:{A}") < 200
    reader = open_store()
    assert bytes(await reader.get(A)) == LARGE
    assert await reader.get(B) == SMALL
    assert await reader.get(C) is None
    assert (await check_books(redis)).sizes == {A: len(LARGE), B: len(SMALL)}
    for key in await redis.keys("*"):
        assert 590 < await redis.ttl(key) <= 660


async def test_what_makes_room_is_deleted_by_any_gateway(redis, open_store, place):
    store, other = (open_store(media_store_max_bytes=len(LARGE) + 10) for _ in range(2))
    await store.put(A, LARGE, "r1")
    store.release("r1")
    await store.put(B, LARGE, "r2")
    assert len(place.names()) == 2
    await other._cabinet.delete_doomed()
    [name] = place.names()
    assert name.startswith(B)
    assert bytes(await store.get(B)) == LARGE
    assert not await redis.exists(f"{PREFIX}objects")


async def test_items_that_nobody_needs_go_without_being_asked(open_store, place, wait_for):
    store = open_store(media_store_ttl_s=1, media_hold_lease_s=0.4)
    await store.put(A, LARGE, "r1")
    await store.put(B, LARGE, "r2")
    store.release("r1")
    running = asyncio.create_task(store.run())
    await wait_for(lambda: [name[0] for name in place.names()] == ["b"], 20)
    assert bytes(await store.get(B)) == LARGE
    running.cancel()


async def test_an_item_that_is_stored_again_survives_the_deletion_of_what_it_was_before(open_store, store, place):
    await store.put(A, LARGE, "r1")
    store.release("r1")
    await store.settle()
    await store._ledger.evict(len(LARGE))
    assert not await store.touch(A, "r2")
    assert await store.put(A, LARGE, "r2")
    assert len(place.names()) == 2
    await store._cabinet.delete_doomed()
    assert len(place.names()) == 1
    assert bytes(await store.get(A)) == LARGE


async def test_of_an_item_that_gateways_write_at_once_one_object_stays(redis, open_store, place):
    stores = [open_store() for _ in range(4)]
    await asyncio.gather(*(store.put(A, LARGE, f"r{n}") for n, store in enumerate(stores)))
    await stores[0]._cabinet.delete_doomed()
    assert len(place.names()) == 1
    assert bytes(await stores[1].get(A)) == LARGE
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


async def test_what_a_gateway_left_when_it_died_is_deleted_in_time_and_never_read(redis, store, place, monkeypatch):
    reached = asyncio.Event()

    async def die(digest, receipt):
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store._ledger, "attach", die)
    writing = asyncio.create_task(store.put(A, LARGE, "r1"))
    await reached.wait()
    writing.cancel()
    await asyncio.wait([writing])
    monkeypatch.undo()
    [name] = place.names()
    assert await store.get(A) is None
    assert not await store.touch(A, "r2")
    await store._cabinet.delete_doomed()
    assert place.names() == [name], "it may still be written"
    await redis.zadd(f"{PREFIX}objects", {name: 1}, xx=True)
    await store._cabinet.delete_doomed()
    assert place.names() == []


async def test_an_item_whose_writing_took_too_long_is_written_again(redis, store, place, monkeypatch):
    attach, calls = store._ledger.attach, 0

    async def late(digest, receipt):
        nonlocal calls
        calls += 1
        if calls == 1:
            await redis.zadd(f"{PREFIX}objects", {receipt.name: 1}, xx=True)
            await store._cabinet.delete_doomed()
        return await attach(digest, receipt)

    monkeypatch.setattr(store._ledger, "attach", late)
    assert await store.put(A, LARGE, "r1")
    assert calls == 2
    assert bytes(await store.get(A)) == LARGE
    assert len(place.names()) == 1


async def test_what_stands_in_no_book_is_deleted_once_it_is_old_and_nothing_else_is(redis, store, open_store, place):
    await store.put(A, LARGE, "r1")
    await store.put(B, LARGE, "r1")
    await store.put(C, LARGE, "r1")
    foreign = ["readme.txt", f"{A}.npy", f"{'d' * 64}-backup"]
    for name in (*foreign, f"{'d' * 64}-{secrets.token_hex(8)}"):
        place.add(name)
    await redis.hdel(f"{PREFIX}names", B)  # as where the books were lost
    await redis.delete(f"{PREFIX}data:{C}")
    before = place.names()
    await store._cabinet.delete_strays()
    assert place.names() == before, "they may be on their way into the books"
    later = open_store()
    later._cabinet._stray_age = timedelta(minutes=-1)
    with capture_logs() as logs:
        await later._cabinet.delete_strays()
    [kept] = [name for name in place.names() if name not in foreign]
    assert kept.startswith(A)
    assert set(foreign) < set(place.names())
    assert [line["objects"] for line in logs if line["event"] == "media_strays_deleted"] == [3]
    assert bytes(await store.get(A)) == LARGE


async def test_what_was_never_complete_in_a_directory_is_deleted_once_it_is_old(open_store, directory):
    incomplete = f"{'e' * 64}-{secrets.token_hex(8)}#17"
    for name in (incomplete, "notes#1"):
        directory.add(name)
    store = open_store(media_store_url=directory.url)
    await store._cabinet.delete_strays()
    assert directory.names() == [incomplete, "notes#1"]
    os.utime(directory.root / "tessera-media" / incomplete, (1, 1))
    os.utime(directory.root / "tessera-media" / "notes#1", (1, 1))
    await store._cabinet.delete_strays()
    assert directory.names() == ["notes#1"]


async def test_an_item_whose_object_was_lost_is_stored_again(redis, store, place):
    await store.put(A, LARGE, "r1")
    place.clear()
    assert await store.get(A) is None
    assert not await store.touch(A, "r2")
    assert await store.put(A, LARGE, "r2")
    assert bytes(await store.get(A)) == LARGE
    assert (await check_books(redis)).sizes == {A: len(LARGE)}


async def test_a_place_that_is_gone_is_an_outage_that_is_told_once(open_store, directory):
    place, store = directory, open_store(media_store_url=directory.url)
    await store.put(B, LARGE, "r1")
    shutil.rmtree(place.root)
    place.root.write_text("not a directory")
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(MediaStoreUnavailable) as caught:
                await store.put(A, LARGE, "r1")
    assert (caught.value.status, caught.value.code) == (503, "media_store_unavailable")
    assert str(place.root) not in caught.value.message
    assert [line["event"] for line in logs] == ["media_objects_unreachable"]
    # What fits into Redis goes on.
    assert await store.put(C, SMALL, "r1")
    place.root.unlink()
    with capture_logs() as logs:
        assert await store.put(A, LARGE, "r1")
    assert [line["event"] for line in logs] == ["media_objects_reached"]


async def test_a_worker_that_does_not_know_the_place_says_so(open_store, store):
    await store.put(A, LARGE, "r1")
    with capture_logs() as logs, pytest.raises(MediaStoreUnavailable, match="TESSERA_MEDIA_STORE_URL"):
        await open_store(media_store_url="").get(A)
    assert [line["event"] for line in logs] == ["media_store_url_missing"]


@pytest.mark.parametrize("url", ["ftp://x/y", "/srv/media", "file://relative", "s3://", "redis://x"])
def test_urls_that_lead_nowhere_are_refused(make_settings, url):
    with pytest.raises(ValueError, match="media_store_url"):
        make_settings(media_store_url=url)
