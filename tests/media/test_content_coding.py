from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from tessera.errors import MediaFetchFailed, MediaTooLarge
from tessera.media.content_coding import decompress, read_coding

DATA = bytes(range(256)) * 40


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


BODIES = {
    "gzip": ("gzip", gzip.compress(DATA)),
    "gzip, in two members": ("gzip", gzip.compress(DATA[:5000]) + gzip.compress(DATA[5000:])),
    "gzip, with bytes behind it": ("gzip", gzip.compress(DATA) + b"\0\0\0"),
    "deflate": ("deflate", zlib.compress(DATA)),
    "deflate without zlib's header": ("deflate", bare_deflate(DATA)),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_was_compressed_comes_back(name):
    coding, body = BODIES[name]
    assert decompress(body, coding, len(DATA)) == DATA
    with pytest.raises(MediaTooLarge, match=f"more than the {len(DATA) - 1} bytes"):
        decompress(body, coding, len(DATA) - 1)


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate without zlib's header"])
def test_a_body_that_is_cut_short_or_damaged_is_said_to_be(name):
    coding, body = BODIES[name]
    with pytest.raises(MediaFetchFailed, match="cut short"):
        decompress(body[:-9] if coding == "gzip" else body[:-5], coding, len(DATA))
    with pytest.raises(MediaFetchFailed, match=r"cannot be unpacked|cut short"):
        decompress(b"\xff" * 40, coding, len(DATA))
    with pytest.raises(MediaFetchFailed, match="cut short"):
        decompress(b"", coding, len(DATA))


def test_a_bomb_is_never_unpacked():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(MediaTooLarge):
        decompress(bomb, "gzip", 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("identity", None),
        ("Identity", None),
        (" , IDENTITY,", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, identity", "gzip"),
        ("deflate", "deflate"),
        ("zstd", "zstd"),
    ],
)
def test_codings_by_their_names(header, coding):
    assert read_coding(header) == coding


@pytest.mark.parametrize("header", ["br", "gzip, gzip", "compress", "aws-chunked", "x" * 1000])
def test_other_codings_are_refused_by_name(header):
    with pytest.raises(MediaFetchFailed, match="gzip, deflate and zstd can be read") as caught:
        read_coding(header)
    assert header[:64] in caught.value.message
    assert len(caught.value.message) < 200
