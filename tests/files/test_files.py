# ruff: noqa: PT012 - what is broken off is broken off within a context
from __future__ import annotations

import asyncio
import hashlib
import time

import pytest

from tessera.errors import FileMissing, FilesQuotaExceeded, FilesUnavailable, FileTooLarge, QueueUnavailable
from tessera.files import files as module
from tessera.files import incoming
from tessera.files.record import day_of, new_id, place_of
from tessera.local.samples import image
from tests.files.test_directory import names
from tests.polling import eventually

ALICE, BOB = "alice", "bob"
KNOWN = {"filename": "a.txt", "purpose": "user_data"}


async def put(files, data=b"hello", tenant=ALICE, ttl_s=600, **known):
    async with files.receiving(tenant, len(data)) as receipt:
        await receipt.content.write(data)
        return await receipt.finish(**{**KNOWN, **known}, ttl_s=ttl_s)


async def content(files, file, *span):
    return b"".join([piece async for piece in files.read(file, *span)])


async def listed(files, tenant=ALICE, **asked):
    usual = {"limit": 100, "after": "", "newest_first": False, "purpose": ""}
    found, more = await files.page(tenant, **{**usual, **asked})
    return [file.id for file in found], more


def stored(store):
    return names(store._root)


async def test_a_file_is_found_read_and_deleted(files, store):
    before = int(time.time())
    file = await put(files)
    assert await files.find(ALICE, file.id) == file
    assert (file.nbytes, file.sha256, file.filename) == (5, hashlib.sha256(b"hello").hexdigest(), "a.txt")
    assert before <= file.created_s == file.expires_s - 600 <= time.time()
    assert (file.mime, file.modality) == ("", "")
    assert await content(files, file) == b"hello"
    assert await content(files, file, 1, 3) == b"el"
    await files.delete(ALICE, file.id)
    with pytest.raises(FileMissing):
        await files.find(ALICE, file.id)
    with pytest.raises(FileMissing):
        await files.delete(ALICE, file.id)
    assert (stored(store), await listed(files)) == ([], ([], False))


async def test_what_its_first_bytes_say_is_known(files):
    file = await put(files, image())
    assert (file.mime, file.modality) == ("image/png", "image")


async def test_another_tenant_has_it_not(files, store):
    file = await put(files)
    for work in (files.find(BOB, file.id), files.delete(BOB, file.id)):
        with pytest.raises(FileMissing):
            await work
    assert await listed(files, BOB) == ([], False)
    assert (await files.find(ALICE, file.id), len(stored(store))) == (file, 1)


@pytest.mark.parametrize(
    "name", ["", "file-", "file-" + "0" * 32, "file-" + "0" * 31 + "\n", "../x", "upload_" + "0" * 32]
)
async def test_what_is_no_id_is_not_found(files, name):
    with pytest.raises(FileMissing):
        await files.find(ALICE, name)


async def test_files_are_listed_in_their_order_page_by_page(files, monkeypatch):
    monkeypatch.setattr("tessera.files.ledger._PAGE", 2)
    ids = []
    for purpose in ("vision", "batch", "vision", "vision"):
        ids.append((await put(files, purpose=purpose)).id)
        await asyncio.sleep(0.002)  # ids of one millisecond are in no order
    assert await listed(files) == (ids, False)
    assert await listed(files, newest_first=True) == (ids[::-1], False)
    assert await listed(files, limit=3) == (ids[:3], True)
    assert await listed(files, after=ids[1]) == (ids[2:], False)
    assert await listed(files, after=ids[1], newest_first=True) == (ids[:1], False)
    assert await listed(files, purpose="vision", limit=2) == ([ids[0], ids[2]], True)
    await files.delete(ALICE, ids[1])
    assert await listed(files, after=ids[1], limit=1) == ([ids[2]], True)


async def test_a_file_may_have_only_so_many_bytes(files, store):
    with pytest.raises(FileTooLarge):
        await put(files, b"x" * 10_001)
    assert (stored(store), await listed(files)) == ([], ([], False))
    await put(files, b"x" * 10_000)


async def test_a_tenant_may_have_only_so_many_bytes(files, store):
    kept = [await put(files, b"x" * 10_000) for _ in range(2)]
    with pytest.raises(FilesQuotaExceeded):
        await put(files, b"x" * 5001)
    await put(files, b"x" * 5000)
    assert len(stored(store)) == 3
    await put(files, b"x" * 10_000, tenant=BOB)
    await files.delete(ALICE, kept[0].id)
    await put(files, b"x" * 10_000)


async def test_a_tenant_may_have_only_so_many_files(files):
    for _ in range(4):
        last = await put(files)
    with pytest.raises(FilesQuotaExceeded):
        await put(files)
    await files.delete(ALICE, last.id)
    await put(files)


async def test_what_is_not_announced_is_counted_as_it_comes(files, monkeypatch):
    monkeypatch.setattr(incoming, "BLOCK_BYTES", 100)
    monkeypatch.setattr(module, "STEP_BYTES", 100)
    await put(files, b"x" * 10_000)
    await put(files, b"x" * 10_000)
    with pytest.raises(FilesQuotaExceeded):
        async with files.receiving(ALICE, None) as receipt:
            for _ in range(60):
                await receipt.content.write(b"x" * 100)
    async with files.receiving(ALICE, None) as receipt:
        for _ in range(49):
            await receipt.content.write(b"x" * 100)
        await receipt.finish(**KNOWN, ttl_s=60)


async def test_two_at_once_do_not_share_the_same_room(files):
    async with files.receiving(ALICE, 14_096), files.receiving(ALICE, 14_096):
        with pytest.raises(FilesQuotaExceeded):
            await put(files, b"x" * 6000)


@pytest.mark.parametrize("why", [ValueError, asyncio.CancelledError])
async def test_nothing_is_left_of_what_does_not_end(files, store, why):
    with pytest.raises(why):
        async with files.receiving(ALICE, 10_000) as receipt:
            await receipt.content.write(b"x" * 9000)
            raise why
    assert (stored(store), await listed(files)) == ([], ([], False))
    for _ in range(2):
        await put(files, b"x" * 10_000)


async def test_a_file_is_gone_when_its_time_is_over(files, store):
    file = await put(files, ttl_s=1)
    kept = await put(files)
    running = asyncio.create_task(files.run())
    try:

        async def gone():
            return (await listed(files))[0] == [kept.id]

        await eventually(gone, "it is over")
        with pytest.raises(FileMissing):
            await files.find(ALICE, file.id)
    finally:
        running.cancel()
    # The task that removes its bytes comes by from time to time.
    running = asyncio.create_task(files.run())
    try:
        await eventually(lambda: len(stored(store)) == 1, "its bytes are removed")
    finally:
        running.cancel()


async def test_what_a_dead_gateway_left_is_removed(files, store, ledger):
    # It had begun to write, and all but finished.
    file_id = new_id("file-")
    place = place_of(file_id, 60)
    assert await ledger.reserve(ALICE, file_id, 10_000, lease_s=0.01, place=place)
    async with store.create(place) as sink:
        await sink.write(b"x")
        await sink.commit()
    running = asyncio.create_task(files.run())
    try:
        await eventually(lambda: stored(store) == [], "it is removed")
    finally:
        running.cancel()
    for _ in range(2):
        await put(files, b"x" * 10_000)


async def test_what_took_longer_than_its_room_was_kept_is_not_there(files, store, ledger, monkeypatch):
    monkeypatch.setattr(module, "LEASE_S", 0.001)
    with pytest.raises(FilesUnavailable):
        async with files.receiving(ALICE, 10) as receipt:
            await receipt.content.write(b"x")

            async def over():
                return bool(await ledger.doomed(ALICE))

            await eventually(over, "its room is given away")
            await receipt.finish(**KNOWN, ttl_s=60)
    assert await listed(files) == ([], False)


async def test_files_without_books_go_with_their_day(files, store, redis_client, ledger):
    await put(files)
    await redis_client.delete(
        *[ledger.key(ALICE, name) for name in ("bytes", "records", "created", "expiry", "places")]
    )
    [name] = stored(store)
    assert await store.sweep(day_of(time.time())) == 0
    later = time.time() + files.longest_s + 3 * 86_400
    assert await store.sweep(day_of(later)) == 1
    assert stored(store) == []
    assert name.startswith(day_of(time.time() + files.longest_s + 86_400))


async def test_a_store_that_fails_does_not_keep_a_file_from_being_deleted(files, store, ledger, monkeypatch):
    file = await put(files)

    async def fail(name):
        raise FilesUnavailable("No.")

    with monkeypatch.context() as broken:
        broken.setattr(store, "delete", fail)
        await files.delete(ALICE, file.id)
    assert await ledger.doomed(ALICE) == [file.place]
    running = asyncio.create_task(files.run())
    try:
        await eventually(lambda: stored(store) == [], "it is removed later")
    finally:
        running.cancel()


async def test_without_redis_nothing_is_left_either(files, store, ledger, monkeypatch):
    async def unreachable(*arguments, **named):
        raise QueueUnavailable("No.")

    with pytest.raises(QueueUnavailable):
        async with files.receiving(ALICE, 10) as receipt:
            await receipt.content.write(b"x")
            monkeypatch.setattr(ledger, "call", unreachable)
            await receipt.finish(**KNOWN, ttl_s=60)
