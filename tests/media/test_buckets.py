"""Media by the URLs of object storage: against a server that speaks S3, and one that answers as Google's does."""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from urllib.error import HTTPError

import obstore
import pytest
from obstore.store import S3Store

from tessera.errors import MediaFetchBlocked, MediaFetchFailed, MediaTooLarge
from tests.media.downloads import Downloads

OBJECT = bytes(range(256)) * 8192  # 2 MiB: several pieces


@pytest.fixture
def storage(s3_server, monkeypatch):
    access = {"ENDPOINT_URL": s3_server, "REGION": "eu-west-1", "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}
    for name, value in access.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for bucket in ("photos", "secrets"):
        with suppress(HTTPError):
            urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{bucket}", method="PUT")).close()
        store = S3Store(bucket, client_options={"allow_http": True})
        for key in ("public/a b.png", "public/large", "private/a.png", "publication"):
            obstore.put(store, key, OBJECT)


@pytest.fixture
async def fetcher(storage, make_settings):
    fetcher = Downloads(
        make_settings(media_buckets="s3://photos/public, s3://none", media_allow_private_networks=False)
    )
    yield fetcher
    await fetcher.aclose()


@pytest.mark.parametrize("url", ["s3://photos/public/a b.png", "S3://photos/public/large"])
async def test_an_object_comes_back(fetcher, url):
    assert await fetcher.read(url) == OBJECT


@pytest.mark.parametrize(
    "url",
    [
        "s3://secrets/public/large",
        "gs://photos/public/large",
        "s3://photos/private/a.png",
        "s3://photos/publication",
        "s3://photos/public/../private/a.png",
        "s3://photos/public//large",
        "s3://photos/public/",
        "s3://photos",
        "s3://",
        "s3:///public/large",
        "s3://x@photos/public/large",
        "s3://photos:9000/public/large",
        "s3://PHOTOS/public/large",
        "s3:photos/public/large",
    ],
)
async def test_what_is_not_named_is_not_read(fetcher, url):
    with pytest.raises(MediaFetchBlocked if url.startswith(("s3://", "gs://")) else Exception):
        await fetcher.read(url)


async def test_nothing_is_read_unless_it_is_named(storage, settings):
    fetcher = Downloads(settings)
    with pytest.raises(MediaFetchBlocked, match="TESSERA_MEDIA_BUCKETS"):
        await fetcher.read("s3://photos/public/large")
    await fetcher.aclose()


@pytest.mark.parametrize("url", ["s3://photos/public/none", "s3://none/a"])
async def test_what_is_not_there(fetcher, url):
    with pytest.raises(MediaFetchFailed, match=r"no object|refuses it"):
        await fetcher.read(url)


async def test_a_storage_that_is_away_is_told_without_its_address(fetcher, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(MediaFetchFailed) as caught:
        await fetcher.read("s3://photos/public/large")
    assert "127.0.0.1" not in caught.value.message


async def test_an_object_that_is_too_large_is_not_read(storage, make_settings):
    fetcher = Downloads(make_settings(media_buckets="s3://photos", media_max_bytes=len(OBJECT) - 1))
    with pytest.raises(MediaTooLarge, match=f"{len(OBJECT)} bytes"):
        await fetcher.read("s3://photos/public/large")
    await fetcher.aclose()


async def test_a_redirect_leads_to_no_bucket(storage, make_settings, web_server):
    fetcher = Downloads(make_settings(media_buckets="s3://photos"))
    url = web_server.serve("/a", b"", status=302, headers={"Location": "s3://photos/public/large"})
    with pytest.raises(Exception, match="not a complete http or https URL"):
        await fetcher.read(url)
    await fetcher.aclose()


async def test_google_storage(make_settings, web_server, tmp_path, monkeypatch):
    account = {"gcs_base_url": web_server.url, "disable_oauth": True}
    names = ("client_email", "private_key", "private_key_id")
    (tmp_path / "account").write_text(json.dumps(account | dict.fromkeys(names, "")))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account"))
    headers = {"ETag": '"1"', "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
    web_server.serve("/clips/a.mp4", OBJECT, headers=headers)
    fetcher = Downloads(make_settings(media_buckets="gs://clips"))
    assert await fetcher.read("gs://clips/a.mp4") == OBJECT
    await fetcher.aclose()


def test_a_setting_that_names_no_bucket(make_settings):
    for value in ("photos", "s3://", "https://x", "s3://a b"):
        with pytest.raises(ValueError, match="media_buckets"):
            make_settings(media_buckets=value)
    with pytest.raises(ValueError, match="TESSERA_MEDIA_BUCKETS"):
        Downloads(make_settings(media_buckets="s3://-/x"))
