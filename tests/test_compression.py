from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera import compression

PACKERS = {gzip.compress: "gzip", zlib.compress: "deflate", zstd.compress: "zstd"}


def bare_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@given(st.binary(min_size=1, max_size=50), st.integers(1, 200_000), st.sampled_from([*PACKERS]))
@settings(deadline=None)
def test_any_data_comes_back_and_the_limit_is_exact(piece, times, pack):
    data = piece * times
    coding = PACKERS[pack]
    assert compression.decompress(pack(data), coding, len(data)) == data
    with pytest.raises(compression.TooLong):
        compression.decompress(pack(data), coding, len(data) - 1)


@pytest.mark.parametrize("behind", [b"", b"\0" * 100, b"\x1f"])
@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_members_stand_one_behind_the_other(behind, pack):
    data = [bytes([i]) * 700_000 for i in range(3)]
    packed = b"".join(map(pack, data)) + behind
    assert compression.decompress(packed, PACKERS[pack], 1 << 30) == b"".join(data)


@pytest.mark.parametrize("pack", PACKERS)
def test_a_bomb_is_never_unpacked(pack):
    bomb = pack(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(compression.TooLong):
        compression.decompress(bomb, PACKERS[pack], 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(("coding", "pack"), [*((c, p) for p, c in PACKERS.items()), ("deflate", bare_deflate)])
def test_what_has_no_end_is_damaged(coding, pack):
    packed = pack(bytes(range(256)) * 4000)
    for length in (0, 1, len(packed) // 2, len(packed) - 9):
        with pytest.raises(compression.Damaged, match="cut short"):
            compression.decompress(packed[:length], coding, 1 << 30)
