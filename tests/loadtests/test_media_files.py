from __future__ import annotations

import itertools
from io import BytesIO

import av
import pytest
from PIL import Image

from loadtests import media_files


def test_pages_and_photographs_have_the_size_that_the_benchmark_names():
    assert Image.open(BytesIO(media_files.page(1))).size == (1275, 1650)
    assert Image.open(BytesIO(media_files.photograph(1, 960, 720))).size == (960, 720)


def test_a_clip_is_as_long_as_it_should_be_with_a_keyframe_each_ten_seconds():
    with av.open(BytesIO(media_files.clip(1, 64, 48))) as clip:
        stream = clip.streams.video[0]
        packets = [packet for packet in clip.demux(stream) if packet.size]
        times = sorted(packet.pts * float(stream.time_base) for packet in packets)
        assert float(stream.duration * stream.time_base) == pytest.approx(60, abs=0.1)
    assert len(packets) == 1500
    assert sum(packet.is_keyframe for packet in packets) == 6
    assert all(0.03 < later - earlier < 0.05 for earlier, later in itertools.pairwise(times))
