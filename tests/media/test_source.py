from __future__ import annotations

import base64

import pytest

from tessera.errors import InvalidMedia
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
        "data:image/png;base64," + TEXT.replace("+", " "),
        f"data:image/png; base64 ,{TEXT}",
        f"data:video/webm;codecs=vp8,opus;base64,{TEXT}",
        f'data:video/webm;codecs="vp8,opus";base64,{TEXT}',
        f'data:image/png;name="a\\";base64,\\"b.png";base64,{TEXT}',
        f'data:image/png;name=";base64,";base64,{TEXT}',
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
    assert MediaSource.from_url(f"data:Video/WebM;codecs=vp8,opus;base64,{TEXT}").declared == "video/webm"


@pytest.mark.parametrize("given", ["image", "image/", "a b/c", "image/" + "x" * 65, "image/png\x1b[31m", "ïmage/png"])
def test_a_declared_type_that_is_none_is_left_out(given):
    assert MediaSource.from_url(f"data:{given};base64,{TEXT}").declared is None
    assert MediaSource.from_base64(TEXT, given).declared is None or given == "image"


def test_the_text_behind_the_header_is_there_as_it_came():
    source = MediaSource.from_url("data:video/jpeg;base64,QUJD,REVG")
    assert (source.declared, source.encoded) == ("video/jpeg", "QUJD,REVG")


def test_a_data_url_may_stand_in_input_audio():
    source = MediaSource.from_base64(f"data:audio/mpeg;base64,{TEXT}", "wav")
    assert (source.declared, source.decode(len(DATA))) == ("audio/mpeg", DATA)
    with pytest.raises(InvalidMedia, match="comma"):
        MediaSource.from_base64("data:audio/mpeg;base64")


def test_http_urls_are_remote():
    for url in ("HTTPS://example.com/a.png", "s3://bucket/a.png", "GS://bucket/a.png"):
        assert MediaSource.from_url(url).remote


@pytest.mark.parametrize(
    "url", ["", "a.png", "file:///etc/passwd", "ftp://x/y", "azure://b/o", "javascript:1", "C:\\a.png", "http", "//x/y"]
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


@pytest.mark.parametrize(
    "url",
    [
        "iVBORw0KGgoAAAANSUhEUgAA",
        "data:image/png,iVBORw0KGgo",
        "data:image/png;base64",
        "data:iVBORw0KGgo",
        "x:iVBORw0KGgo",
    ],
)
def test_nothing_of_what_a_client_sent_by_mistake_is_shown(url):
    with pytest.raises(InvalidMedia) as caught:
        MediaSource.from_url(url)
    assert "iVBOR" not in caught.value.message


def test_fingerprints_tell_sources_apart():
    sources = [
        MediaSource.from_url(f"data:image/png;base64,{TEXT}"),
        MediaSource.from_url(f"data:image/gif;base64,{TEXT}"),
        MediaSource.from_base64(TEXT),
        MediaSource.from_base64(TEXT, "wav"),
    ]
    assert len({source.fingerprint() for source in sources}) == 4
    assert MediaSource.from_base64(TEXT, "wav").fingerprint() == sources[3].fingerprint()
