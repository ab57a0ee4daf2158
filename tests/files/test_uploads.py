# ruff: noqa: PT012 - what is broken off is broken off within a context
from __future__ import annotations

import asyncio
import hashlib

import pytest

from tessera.errors import (
    FilesQuotaExceeded,
    FilesUnavailable,
    FileTooLarge,
    UploadIncomplete,
    UploadMissing,
    UploadNotPending,
)
from tessera.files import uploads as module
from tests.files.test_files import ALICE, BOB, content, listed, put, stored
from tests.polling import eventually

KNOWN = {"filename": "a.bin", "purpose": "user_data", "mime": "x/y", "ttl_s": 600}


@pytest.fixture
def uploads(files):
    return files.uploads


async def announce(uploads, nbytes, tenant=ALICE, **known):
    return await uploads.create(tenant, nbytes=nbytes, **{**KNOWN, **known})


async def send(uploads, upload, data, tenant=ALICE):
    async with uploads.receiving(tenant, upload.id, len(data)) as receipt:
        await receipt.content.write(data)
        return (await receipt.finish()).id


async def test_a_file_is_made_of_its_parts_in_the_order_that_is_asked_for(files, uploads, store):
    upload = await announce(uploads, 9)
    parts = dict(
        zip("cab", await asyncio.gather(*(send(uploads, upload, d * 3) for d in (b"c", b"a", b"b"))), strict=True)
    )
    order = [parts[name] for name in "abc"]
    done = await uploads.complete(ALICE, upload.id, order, hashlib.md5(b"aaabbbccc").hexdigest().upper())
    assert (done.status, done.file.nbytes, done.file.filename, done.file.purpose) == (
        "completed",
        9,
        "a.bin",
        "user_data",
    )
    assert await content(files, done.file) == b"aaabbbccc"
    assert done.file.sha256 == hashlib.sha256(b"aaabbbccc").hexdigest()
    assert await uploads.complete(ALICE, upload.id, order, "") == done
    assert await listed(files) == ([done.file.id], False)
    with pytest.raises(UploadNotPending):
        await send(uploads, upload, b"ddd")
    with pytest.raises(UploadNotPending):
        await uploads.cancel(ALICE, upload.id)
    await _alone(files, store, done.file.place)


async def _alone(files, store, *places):
    """The parts go, sooner or later."""
    running = asyncio.create_task(files.run())
    try:
        await eventually(lambda: stored(store) == sorted(places), "nothing else is in the store")
    finally:
        running.cancel()


@pytest.mark.parametrize(
    ("choose", "md5", "param"),
    [
        (lambda a, b: [a], "", "part_ids"),
        (lambda a, b: [], "", "part_ids"),
        (lambda a, b: [a, b, a], "", "part_ids"),
        (lambda a, b: [a, "part_" + "0" * 32], "", "part_ids[1]"),
        (lambda a, b: [a, ""], "", "part_ids[1]"),
        (lambda a, b: [b, a], hashlib.md5(b"ab").hexdigest(), "md5"),
    ],
)
async def test_what_does_not_fit_is_named_and_can_be_corrected(files, uploads, store, choose, md5, param):
    upload = await announce(uploads, 2)
    a, b = [await send(uploads, upload, data) for data in (b"a", b"b")]
    with pytest.raises(UploadIncomplete) as refused:
        await uploads.complete(ALICE, upload.id, choose(a, b), md5)
    assert refused.value.param == param
    assert await listed(files) == ([], False)
    done = await uploads.complete(ALICE, upload.id, [a, b], hashlib.md5(b"ab").hexdigest())
    assert await content(files, done.file) == b"ab"
    await _alone(files, store, done.file.place)


async def test_another_tenant_has_it_not(uploads):
    upload = await announce(uploads, 2)
    part = await send(uploads, upload, b"ab")
    for work in (
        send(uploads, upload, b"a", BOB),
        uploads.complete(BOB, upload.id, [part], ""),
        uploads.cancel(BOB, upload.id),
    ):
        with pytest.raises(UploadMissing):
            await work


@pytest.mark.parametrize("name", ["", "upload_" + "0" * 32, "upload_x", "file-" + "0" * 32])
async def test_what_is_no_id_is_not_found(uploads, name):
    for work in (uploads.complete(ALICE, name, [], ""), uploads.cancel(ALICE, name)):
        with pytest.raises(UploadMissing):
            await work


async def test_a_cancelled_upload_leaves_nothing_but_its_name(files, uploads, store):
    upload = await announce(uploads, 10_000)
    part = await send(uploads, upload, b"a")
    assert (await uploads.cancel(ALICE, upload.id)).status == "cancelled"
    for work in (
        send(uploads, upload, b"a"),
        uploads.complete(ALICE, upload.id, [part], ""),
        uploads.cancel(ALICE, upload.id),
    ):
        with pytest.raises((UploadNotPending, UploadIncomplete)):
            await work
    for _ in range(2):
        await put(files, b"x" * 10_000)
    await _alone(files, store, *[name for name in stored(store) if "file-" in name])


async def test_uploads_count_as_files_also_cancelled_ones(uploads):
    for _ in range(4):
        await uploads.cancel(ALICE, (await announce(uploads, 1)).id)
    with pytest.raises(FilesQuotaExceeded):
        await announce(uploads, 1)


async def test_room_is_kept_from_the_beginning(files, uploads):
    with pytest.raises(FileTooLarge):
        await announce(uploads, 10_001)
    upload = await announce(uploads, 10_000)
    with pytest.raises(FilesQuotaExceeded):
        await put(files, b"x" * 5001)
    part = await send(uploads, upload, b"x" * 10_000)
    await uploads.complete(ALICE, upload.id, [part], "")
    # A part that comes twice has room until then.
    await put(files, b"x" * 10_000)


async def test_parts_take_no_more_than_was_announced_and_one_part_again(uploads, store):
    upload = await announce(uploads, 100)
    with pytest.raises(FileTooLarge):
        await send(uploads, upload, b"x" * 101)
    for _ in range(2):
        await send(uploads, upload, b"x" * 100)
    with pytest.raises(FileTooLarge):
        await send(uploads, upload, b"x")
    assert len(stored(store)) == 2


async def test_there_are_only_so_many_parts(uploads, monkeypatch):
    monkeypatch.setattr(module, "MOST_PARTS", 2)
    upload = await announce(uploads, 100)
    for _ in range(2):
        await send(uploads, upload, b"x")
    with pytest.raises(UploadIncomplete):
        await send(uploads, upload, b"x")


async def test_nothing_is_left_of_a_part_that_does_not_end(uploads, store):
    upload = await announce(uploads, 100)
    for _ in range(5):
        with pytest.raises(ValueError, match="gone"):
            async with uploads.receiving(ALICE, upload.id, 100) as receipt:
                await receipt.content.write(b"x" * 50)
                raise ValueError("gone")
    assert stored(store) == []
    assert await send(uploads, upload, b"x" * 100)


async def test_a_part_of_an_upload_that_is_cancelled_meanwhile_is_not_kept(files, uploads, store):
    upload = await announce(uploads, 100)
    with pytest.raises(UploadNotPending):
        async with uploads.receiving(ALICE, upload.id, 10) as receipt:
            await receipt.content.write(b"x")
            await uploads.cancel(ALICE, upload.id)
            await receipt.finish()
    await _alone(files, store)


async def test_an_upload_is_gone_when_its_time_is_over(files, uploads, ledger, store, redis_client, monkeypatch):
    upload = await announce(uploads, 100)
    await send(uploads, upload, b"x")
    with monkeypatch.context() as later:
        later.setattr(module.time, "time", lambda: upload.expires_s)
        with pytest.raises(UploadMissing):
            await uploads.find(ALICE, upload.id)
    await uploads.find(ALICE, upload.id)
    await redis_client.zadd(ledger.key(ALICE, "expiry"), {upload.id: 1})
    for work in (send(uploads, upload, b"x"), uploads.cancel(ALICE, upload.id)):
        with pytest.raises(UploadMissing):
            await work
    await _alone(files, store)
    assert await ledger.upload(ALICE, upload.id) == ({}, {})
    for _ in range(2):
        await put(files, b"x" * 10_000)


async def test_of_two_that_complete_it_at_once_one_does(files, uploads):
    upload = await announce(uploads, 1)
    part = await send(uploads, upload, b"x")
    answers = await asyncio.gather(
        *(uploads.complete(ALICE, upload.id, [part], "") for _ in range(4)), return_exceptions=True
    )
    done = {answer.file.id for answer in answers if not isinstance(answer, Exception)}
    assert len(done) == 1
    assert all(isinstance(answer, UploadNotPending) for answer in answers if isinstance(answer, Exception))
    assert (await listed(files))[0] == list(done)


async def test_a_gateway_that_dies_while_it_completes_it_leaves_it_to_another(files, uploads, ledger, monkeypatch):
    upload = await announce(uploads, 1)
    part = await send(uploads, upload, b"x")

    async def die(*arguments, **named):
        raise FilesUnavailable("dead")

    async def silent(verb, *arguments):
        return None if verb == "unclaim" else await real(verb, *arguments)

    real = ledger.call
    with monkeypatch.context() as dead:
        dead.setattr(module, "CLAIM_S", 0.001)
        dead.setattr(uploads, "_join", die)
        dead.setattr(ledger, "call", silent)
        with pytest.raises(FilesUnavailable):
            await uploads.complete(ALICE, upload.id, [part], "")
    done = await uploads.complete(ALICE, upload.id, [part], "")
    assert await content(files, done.file) == b"x"
