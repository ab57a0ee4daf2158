# ruff: noqa: PT012 - what is broken off is broken off within a context
"""Files in object storage: against a server that speaks S3."""

from __future__ import annotations

import asyncio
import os
import urllib.request
from contextlib import suppress
from urllib.error import HTTPError

import obstore
import pytest
from structlog.testing import capture_logs

from tessera.errors import FilesUnavailable
from tessera.files import Files
from tessera.files.files import open_files
from tessera.files.objects import PART_BYTES, ObjectsStore
from tessera.local.stack import free_port
from tests.files.test_directory import got, put
from tests.files.test_files import ALICE, content, listed
from tests.files.test_files import put as upload
from tests.files.test_uploads import announce, send

NAME = "2026-11-28/file-1"
MIB = 1024 * 1024


@pytest.fixture
def url(s3_server, monkeypatch):
    access = {"ENDPOINT_URL": s3_server, "REGION": "eu-west-1", "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}
    for name, value in access.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with suppress(HTTPError):
        urllib.request.urlopen(urllib.request.Request(f"{s3_server}/files", method="PUT")).close()
    return "s3://files/some/prefix"


@pytest.fixture
def store(url):
    store = ObjectsStore(url, timeout_s=30)
    for item in obstore.list(store._store).collect():
        obstore.delete(store._store, item["path"])
    return store


@pytest.fixture
def names(store):
    return lambda: sorted(item["path"] for item in obstore.list(store._store).collect())


@pytest.fixture
def in_parts(s3_server):
    """How many objects are being sent in parts, or were left so."""

    def count():
        with urllib.request.urlopen(f"{s3_server}/files?uploads") as answer:
            return answer.read().count(b"<Upload>")

    return count


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 13 * MIB])
async def test_what_is_written_is_read(store, names, in_parts, size):
    data = os.urandom(size)
    await put(store, NAME, *(data[at : at + MIB] for at in range(0, size, MIB)))
    assert b"".join(await got(store, NAME, 0, size)) == data
    assert (names(), in_parts()) == ([NAME], 0)
    if size > 1:
        assert b"".join(await got(store, NAME, 1, size // 2)) == data[1 : size // 2]


@pytest.mark.parametrize("why", [ValueError, asyncio.CancelledError])
@pytest.mark.parametrize("size", [1, 12])
async def test_nothing_is_left_of_what_is_broken_off(store, names, in_parts, size, why):
    with pytest.raises(why):
        async with store.create(NAME) as sink:
            for _ in range(size):
                await sink.write(b"x" * MIB)
            raise why
    assert (names(), in_parts()) == ([], 0)


async def test_what_is_not_there(store):
    with capture_logs(), pytest.raises(FilesUnavailable):
        await got(store, NAME, 0, 1)
    await put(store, NAME, b"abc")
    with capture_logs() as logs, pytest.raises(FilesUnavailable):
        await got(store, NAME, 0, 5)
    assert [line["event"] for line in logs] == ["file_cut_short"]


async def test_delete_may_be_repeated(store, names):
    await put(store, NAME, b"abc")
    for _ in range(2):
        await store.delete(NAME)
    assert names() == []


async def test_days_that_are_over_are_swept(store, names):
    kept = ["2026-11-28/file-1", "others/file-1"]
    for name in ("2026-11-26/file-1", "2026-11-27/file-1", *kept):
        await put(store, name, b"x")
    assert await store.sweep("2026-11-28") == 2
    assert names() == kept


@pytest.mark.parametrize("size", [1, 12 * MIB])
async def test_a_storage_that_is_away_is_a_503(url, monkeypatch, size):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    away = ObjectsStore(url, timeout_s=0.5)
    with capture_logs() as logs, pytest.raises(FilesUnavailable) as refused:
        await put(away, NAME, *[b"x" * MIB] * (size // MIB or 1))
    assert "127.0.0.1" not in refused.value.message
    assert {line["event"] for line in logs} == {"files_store_failed"}
    for work in (away.delete(NAME), away.sweep("2026-11-28"), got(away, NAME, 0, 1)):
        with capture_logs(), pytest.raises(FilesUnavailable):
            await work


async def test_files_and_uploads_in_it(redis_client, settings, store, url, names):
    limits = {"files_store_url": url, "files_max_bytes": 20 * MIB, "files_max_bytes_per_tenant": 100 * MIB}
    files = open_files(redis_client, settings.model_copy(update=limits))
    assert isinstance(files, Files)
    data = os.urandom(7 * MIB)
    file = await upload(files, data)
    assert await content(files, file) == data
    announced = await announce(files.uploads, 14 * MIB)
    parts = [await send(files.uploads, announced, data) for _ in range(2)]
    done = await files.uploads.complete(ALICE, announced.id, parts, "")
    assert await content(files, done.file) == data + data
    for file_id in (await listed(files))[0]:
        await files.delete(ALICE, file_id)
    assert not [name for name in names() if "file-" in name]
