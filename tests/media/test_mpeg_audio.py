from __future__ import annotations

import io

import av
import numpy as np
import pytest

from tessera.errors import MediaDecodeTimeout
from tessera.media import mpeg_audio
from tessera.media.limits import Deadline
from tests.media.sounds import encode, mp3, steps


def walk(data):
    return list(mpeg_audio.walk(data, Deadline()))


def whole(data):
    return mpeg_audio.least_samples(data, Deadline())


def packets(data):
    """Position, size and duration (samples) of each frame, by FFmpeg's demuxer."""
    with av.open(io.BytesIO(data), format="mp3") as container:
        stream = container.streams.audio[0]
        found = [packet for packet in container.demux(stream) if packet.size]
        return [(p.pos, p.size, round(p.duration * p.time_base * stream.rate)) for p in found]


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("options", [{}, {"b": "32000"}, {"global_quality": "590", "flags": "+qscale"}])
def test_frames_are_where_ffmpeg_finds_them(rate, channels, options):
    data = mp3(steps(2, rate, channels=channels), rate, says_length=False, **options)
    assert [(f.start, f.end - f.start, f.header.samples) for f in walk(data)] == packets(data)
    assert {f.header.stream for f in walk(data)} == {(3, rate, channels == 1)}


@pytest.mark.parametrize("rate", [16000, 44100])
def test_layer_2_is_known_too(rate):
    data = encode(steps(2, rate), rate, "mp2", "mp2")
    assert [(f.start, f.end - f.start) for f in walk(data)] == [(pos, size) for pos, size, _ in packets(data)]
    assert {f.header.stream.layer for f in walk(data)} == {2}


def test_layer_1_is_known_too():
    # MPEG-1, 32 kbit/s, 48 kHz: 12 * 32000 / 48000 slots of 4 bytes.
    frame = b"\xff\xff\x14\xc0" + bytes(28)
    assert [(f.start, f.header.size, f.header.samples) for f in walk(frame * 3)] == [(n, 32, 384) for n in (0, 32, 64)]


def test_pictures_in_tags_are_no_frames():
    frames = mp3(steps(1), says_length=False)
    size = len(frames)
    tag = b"ID3\x04\x00\x00" + bytes([size >> 21, size >> 14 & 127, size >> 7 & 127, size & 127]) + frames
    assert [f.start for f in walk(tag + frames)] == [len(tag) + f.start for f in walk(frames)]
    assert len(walk(frames + tag + frames)) == 2 * len(walk(frames))
    assert mpeg_audio.repair(frames + tag + frames, Deadline()) == frames * 2


def test_a_whole_file_has_a_least_length():
    for says_length in (True, False):
        for channels in (1, 2):
            data = mp3(steps(3, channels=channels), says_length=says_length)
            least = whole(data)
            assert least is not None
            assert 3 * 44100 - 3 * 1152 <= least <= 3 * 44100 + 1152


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        bytes(5000),
        b"\xff\xfb" * 3000,
        mp3(steps(1))[:5000] + mp3(steps(1))[5003:],
        mp3(steps(1)) + b"rubbish" + mp3(steps(1)),
        mp3(steps(1), says_length=False) + mp3(steps(1, channels=2), says_length=False),
        mp3(steps(1), says_length=False) + mp3(steps(1, 48000), 48000, says_length=False),
    ],
    ids=["empty", "a byte", "zeros", "no frames", "bytes missing", "bytes between", "channels", "rate"],
)
def test_what_is_not_one_whole_stream_has_none(data):
    assert whole(data) is None


def test_tags_at_the_ends_and_a_cut_last_frame_are_no_damage():
    data = mp3(steps(1))
    assert whole(data) is not None
    assert whole(data + b"TAG" + bytes(125)) == whole(data)
    assert whole(data[:-5]) == whole(data) - 1152


def test_a_repaired_file_has_only_whole_frames():
    data = mp3(steps(5), says_length=False)
    sizes = [f.header.size for f in walk(data)]
    random = np.random.default_rng(1)
    for _ in range(20):
        start, missing = int(random.integers(len(data) - 500)), int(random.integers(1, 300))
        repaired = mpeg_audio.repair(data[:start] + data[start + missing :], Deadline())
        assert whole(repaired) is not None
        assert len(sizes) - 2 <= len(walk(repaired)) <= len(sizes)


def test_hostile_bytes_end_with_the_deadline():
    deadline = Deadline(-1)
    with pytest.raises(MediaDecodeTimeout):
        mpeg_audio.least_samples(b"\xff\xfb\x90\x00" * 1000, deadline)
