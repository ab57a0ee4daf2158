# ruff: noqa: PT012 - what is broken off is broken off within a context
from __future__ import annotations

import asyncio
import errno
import os
import stat
import time

import pytest
from structlog.testing import capture_logs

from tessera.errors import FilesUnavailable
from tessera.files import directory
from tessera.files.store import READ_BYTES

NAME = "2026-11-28/file-1"


async def put(store, name, *blocks):
    async with store.create(name) as sink:
        for block in blocks:
            await sink.write(block)
        await sink.commit()


async def got(store, name, start, end):
    return [piece async for piece in store.read(name, start, end)]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def root(store):
    return store._root


async def test_what_is_written_is_read(store, root):
    data = os.urandom(2 * READ_BYTES + 5)
    await put(store, NAME, data[:10], data[10:])
    pieces = await got(store, NAME, 0, len(data))
    assert [len(piece) for piece in pieces] == [READ_BYTES, READ_BYTES, 5]
    assert b"".join(pieces) == data
    assert b"".join(await got(store, NAME, 7, 1000)) == data[7:1000]
    assert await got(store, NAME, 5, 5) == []
    assert names(root) == [NAME]


async def test_nobody_else_on_the_machine_reads_it(store, root):
    await put(store, NAME, b"x")
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in root.rglob("*")} == {0}


async def test_it_is_not_there_before_it_is_complete(store, root):
    async with store.create(NAME) as sink:
        await sink.write(b"x")
        with pytest.raises(FilesUnavailable):
            await got(store, NAME, 0, 1)
        await sink.commit()
        assert names(root) == [NAME]


@pytest.mark.parametrize("why", [ValueError, asyncio.CancelledError])
async def test_nothing_is_left_of_what_is_broken_off(store, root, why):
    with pytest.raises(why):
        async with store.create(NAME) as sink:
            await sink.write(b"x" * 100_000)
            raise why
    assert names(root) == []


async def test_a_file_that_was_cut_short_is_told(store, root):
    await put(store, NAME, b"abc")
    os.truncate(root / NAME, 2)
    with capture_logs() as logs, pytest.raises(FilesUnavailable):
        await got(store, NAME, 0, 3)
    assert [line["event"] for line in logs] == ["file_cut_short"]


async def test_delete_may_be_repeated(store, root):
    await put(store, NAME, b"abc")
    for _ in range(2):
        await store.delete(NAME)
    assert names(root) == []


async def test_a_full_disk_is_a_503_and_shows_no_path(store, root, monkeypatch):
    async with store.create(NAME) as sink:

        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device", str(root))

        monkeypatch.setattr(directory.os, "fsync", full)
        await sink.write(b"x")
        with capture_logs() as logs, pytest.raises(FilesUnavailable) as refused:
            await sink.commit()
    assert str(root) not in refused.value.message
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("files_store_failed", "OSError: No space left on device")
    ]
    assert names(root) == []


async def test_days_that_are_over_and_what_nobody_writes_on_are_swept(store, root):
    assert await store.sweep("2026-11-28") == 0
    for day in ("2026-11-26", "2026-11-27", "2026-11-28"):
        await put(store, f"{day}/file-1", b"x")
    (root / "others").mkdir()
    (root / "others" / "kept").write_bytes(b"")
    async with store.create("2026-12-01/file-2") as writing:
        await writing.write(b"x")
        dead = root / "incoming" / "2026-12-01.file-3"
        dead.write_bytes(b"x")
        long_ago = time.time() - directory.ABANDONED_AFTER_S - 1
        os.utime(dead, (long_ago, long_ago))
        assert await store.sweep("2026-11-28") == 3
        await writing.commit()
    assert names(root) == ["2026-11-28/file-1", "2026-12-01/file-2", "others/kept"]
