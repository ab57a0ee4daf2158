from __future__ import annotations

import base64

import pytest

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import MediaSource

DATA = bytes(range(256)) * 4
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"  DATA:image/png;charset=utf-8;BASE64,{TEXT}\n",
        f"data:;base64,{TEXT}",
        f"data:image/png;base64,\n{TEXT[:76]}\r\n {TEXT[76:]}",
        f"data:image/png;base64,{TEXT.rstrip('=')}",
        "data:image/png;base64," + TEXT.replace("+", "%2B").replace("=", "%3D"),
    ],
)
def test_data_urls_give_their_data(url):
    source = MediaSource.from_url(url)
    assert not source.remote
    assert source.decode(len(DATA)) == DATA


def test_the_declared_type_is_kept():
    assert MediaSource.from_url(f"data:Image/PNG;base64,{TEXT}").declared == "image/png"
    assert MediaSource.from_url(f"data:;base64,{TEXT}").declared is None
    assert MediaSource.from_base64(TEXT, "WAV").declared == "audio/wav"
    assert MediaSource.from_base64(TEXT).declared is None


def test_http_urls_are_remote():
    assert MediaSource.from_url("HTTPS://example.com/a.png").remote


@pytest.mark.parametrize(
    "url", ["", "a.png", "file:///etc/passwd", "ftp://x/y", "gs://b/o", "javascript:1", "C:\\a.png", "http", "//x/y"]
)
def test_other_schemes_are_refused_with_what_is_accepted(url):
    with pytest.raises(InvalidMedia, match="http:// or https:// URL, or a data: URL"):
        MediaSource.from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png;base64",
        "data:image/png,abc",
        "data:,abc",
        "data:image/png;base64;x,abc",
        "http://x/" + "a" * 9000,
    ],
)
def test_malformed_urls_are_refused(url):
    with pytest.raises(InvalidMedia):
        MediaSource.from_url(url)


@pytest.mark.parametrize("text", ["a", "ab*d", "äöü=", "ab=d", "a===", "%", "=====a"])
def test_what_is_not_base64_is_refused(text):
    with pytest.raises(InvalidMedia):
        MediaSource.from_base64(text).decode(1000)


def test_the_size_limit_is_exact_and_ignores_whitespace():
    for size in range(20, 24):
        text = " \n".join(base64.b64encode(bytes(size)).decode())
        assert MediaSource.from_base64(text).decode(size) == bytes(size)
        with pytest.raises(MediaTooLarge, match=f"{size} bytes; at most {size - 1}"):
            MediaSource.from_base64(text).decode(size - 1)


def test_fingerprints_tell_sources_apart():
    sources = [
        MediaSource.from_url(f"data:image/png;base64,{TEXT}"),
        MediaSource.from_url(f"data:image/gif;base64,{TEXT}"),
        MediaSource.from_base64(TEXT),
        MediaSource.from_base64(TEXT, "wav"),
    ]
    assert len({source.fingerprint() for source in sources}) == 4
    assert MediaSource.from_base64(TEXT, "wav").fingerprint() == sources[3].fingerprint()
