from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tessera.errors import InvalidMedia, MediaDecodeTimeout
from tessera.media import ogg
from tessera.media.limits import Deadline
from tests.media.sounds import encode, steps, write


@pytest.fixture(scope="module")
def vorbis():
    return write(np.random.default_rng(1).uniform(-0.5, 0.5, (1, 160_000)).astype(np.float32), 16000, "OGG")


@pytest.fixture(scope="module")
def opus():
    return encode(steps(20, 48000), 48000, "ogg", "libopus")


def links(data):
    return list(ogg.links(data, Deadline()))


def test_a_file_is_one_link(vorbis, opus):
    for data in (vorbis, opus):
        assert links(data) == [(0, len(data), True)]


def test_joined_files_are_cut_where_they_were_joined(vorbis, opus):
    ends = np.cumsum([0, len(vorbis), len(opus), len(vorbis)])
    assert links(vorbis + opus + vorbis) == [(*pair, True) for pair in pairwise(ends)]


def test_any_changed_byte_is_noticed(vorbis):
    for position in range(len(vorbis) // 2, len(vorbis) // 2 + 5000, 97):
        data = bytearray(vorbis)
        data[position] ^= 4
        assert [link.intact for link in links(bytes(data))] == [False]


def test_missing_and_added_bytes_are_noticed(vorbis):
    middle = len(vorbis) // 2
    assert not links(vorbis[:middle] + vorbis[middle + 1 :])[0].intact
    assert not links(vorbis[:middle] + b"\0" + vorbis[middle:])[0].intact


def test_a_missing_page_is_noticed(opus):
    starts = [page.start for page in ogg._pages(opus, Deadline())]
    data = opus[: starts[10]] + opus[starts[11] :]
    assert links(data) == [(0, len(data), False)]


def test_a_last_page_that_is_cut_short_is_no_damage(vorbis):
    assert links(vorbis[:-7]) == [(0, len(vorbis) - 7, True)]


def test_damage_in_one_link_is_not_that_of_the_next(vorbis, opus):
    data = opus[:50000] + opus[50004:] + vorbis
    assert [link.intact for link in links(data)] == [False, True]


def test_too_many_missing_pages_are_refused(opus):
    starts = [page.start for page in ogg._pages(opus, Deadline())]
    with pytest.raises(InvalidMedia, match="damaged"):
        links(opus[: starts[5]] + opus[starts[15] :])


def test_web_radio_begins_in_the_middle(opus):
    pages = list(ogg._pages(opus, Deadline()))
    data = opus[: pages[1].end] + opus[pages[12].start :]
    assert links(data) == [(0, len(data), True)]


@pytest.mark.parametrize("data", [b"", b"OggS", b"OggS" * 1000, bytes(1000)])
def test_what_has_no_pages_is_not_intact(data):
    assert links(data) == [(0, len(data), False)]


def test_hostile_bytes_end_with_the_deadline():
    with pytest.raises(MediaDecodeTimeout):
        list(ogg.links(b"OggS" * 1000, Deadline(-1)))
