"""Frames are decoded from the keyframe before them, and are the same as if everything had been decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import av
import numpy as np
import pytest
from prometheus_client import REGISTRY

from tessera.media import frames as frames_module
from tessera.media.container import moving_pictures, open_container
from tessera.media.frames import FrameReader
from tessera.media.limits import Deadline
from tessera.media.packets import read_packets
from tessera.media.sniff import sniff
from tests.media.clips import clip, moving, pieces, remux
from tests.media.interlaced import interlaced

FRAMES = 60
CLOSED = {"g": 12, "bf": 3}
OPEN = {"g": 12, "bf": 3, "x264-params": "open-gop=1:scenecut=0"}
VP9 = {"g": 24, "auto-alt-ref": 1, "lag-in-frames": 16, "cpu-used": 5, "deadline": "good"}
ENCODINGS = {
    "h264 mp4": {"encoder": CLOSED},
    "h264 mp4, open groups": {"encoder": OPEN},
    "h264 mkv, open groups": {"format": "matroska", "encoder": OPEN},
    "h264 ts": {"format": "mpegts", "encoder": CLOSED},
    "h264 ts, open groups": {"format": "mpegts", "encoder": OPEN},
    "h264 ts, interlaced": {"format": "mpegts", "encoder": {**CLOSED, "x264-params": "interlaced=1"}},
    "h264 flv": {"format": "flv", "encoder": CLOSED},
    "h264 avi": {"format": "avi", "encoder": {"g": 12, "bf": 0}},
    "hevc mp4, open groups": {"codec": "libx265", "encoder": {"g": 12, "x265-params": "log-level=none:open-gop=1"}},
    "hevc ts": {"format": "mpegts", "codec": "libx265", "encoder": {"g": 12, "x265-params": "log-level=none"}},
    "vp8 webm": {"format": "webm", "codec": "libvpx", "encoder": {"g": 24}},
    "vp8 webm, live": {"format": "webm", "codec": "libvpx", "options": {"live": "1"}, "encoder": {"g": 24}},
    "vp9 webm": {"format": "webm", "codec": "libvpx-vp9", "encoder": VP9},
    "av1 mp4": {"codec": "libsvtav1", "encoder": {"g": 24, "preset": 12}},
    "mpeg2 ts": {"format": "mpegts", "codec": "mpeg2video", "encoder": {"g": 12, "bf": 2}},
    "mpeg2 ps": {"format": "vob", "codec": "mpeg2video", "encoder": {"g": 12, "bf": 2}},
    "mpeg2 alone": {"format": "mpeg2video", "codec": "mpeg2video", "encoder": {"g": 12, "bf": 2}},
    "mpeg1 ps": {"format": "mpeg", "codec": "mpeg1video", "encoder": {"g": 12, "bf": 2}},
    "mpeg4 avi": {"format": "avi", "codec": "mpeg4", "encoder": {"g": 12, "bf": 2}},
    "mpeg4 mp4": {"codec": "mpeg4", "encoder": {"g": 12, "bf": 2}},
    "mjpeg avi": {"format": "avi", "codec": "mjpeg", "pixel_format": "yuvj420p"},
}
# Nothing to begin at, or no way to tell where: all is decoded.
WHOLE = {
    "h264 avi, reordered": {"format": "avi", "encoder": CLOSED},
    "h264 ps": {"format": "vob", "encoder": CLOSED},
    "h264 mp4, refreshed bit by bit": {"encoder": {"g": 12, "x264-params": "intra-refresh=1"}},
    "h264 ts, refreshed bit by bit": {"format": "mpegts", "encoder": {"g": 12, "x264-params": "intra-refresh=1"}},
    "gif": {"format": "gif", "codec": "gif", "pixel_format": "rgb8"},
    "flv1": {"format": "flv", "codec": "flv1", "encoder": {"g": 12}},
    "wmv2": {"format": "asf", "codec": "wmv2", "encoder": {"g": 12}},
}
WANTED = [[0], [59], [7, 8], [13], [11, 12, 13], [23, 24], [3, 30, 57], [0, 14, 29, 44, 59], list(range(FRAMES))]


def make(encoding):
    return clip(FRAMES, picture=moving, **encoding)


def all_frames(data):
    with av.open(io.BytesIO(data), format=sniff(data).demuxer) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def read(data, wanted, settings):
    """Frames by number, and how many packets were decoded for them."""
    kind = sniff(data)
    with open_container(data, kind) as container:
        index = read_packets(container, moving_pictures(container), Deadline())
    before = count("decoded")
    reader = FrameReader(data, kind, index, settings, Deadline())
    frames = {number: frame.to_ndarray() for number, frame in reader.read(wanted)}
    return frames, int(count("decoded") - before)


def count(outcome):
    return REGISTRY.get_sample_value("tessera_media_video_packets_total", {"outcome": outcome}) or 0


@pytest.mark.parametrize("encoding", [*ENCODINGS, *WHOLE])
def test_frames_are_those_of_decoding_everything(settings, encoding):
    data = make({**ENCODINGS, **WHOLE}[encoding])
    expected = all_frames(data)
    assert len(expected) == FRAMES
    for wanted in WANTED:
        frames, _ = read(data, wanted, settings)
        assert list(frames) == wanted
        for number, frame in frames.items():
            assert np.array_equal(frame, expected[number]), (wanted, number)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name.split()[1].startswith(("mp4", "mkv", "webm"))])
def test_frames_are_the_same_where_the_file_is_not_read_from_end_to_end(settings, monkeypatch, encoding):
    data = make(ENCODINGS[encoding])
    expected = all_frames(data)
    monkeypatch.setattr(frames_module, "_WORTH_SEEKING", 1)
    for wanted in WANTED:
        skipped = count("skipped")
        frames, decoded = read(data, wanted, settings)
        assert list(frames) == wanted
        for number, frame in frames.items():
            assert np.array_equal(frame, expected[number]), (wanted, number)
        # None is decoded twice: each place was found.
        assert decoded + count("skipped") - skipped <= FRAMES


def test_a_place_that_holds_something_else_is_not_believed(settings, monkeypatch):
    data = make(ENCODINGS["h264 mp4"])
    expected = all_frames(data)
    monkeypatch.setattr(frames_module, "_WORTH_SEEKING", 1)
    wrong = []

    def astray(container, offset, **options):
        wrong.append(offset)
        container.seek(0, **options)

    for wanted in WANTED:
        monkeypatch.setattr(frames_module, "_go_to", astray)
        frames, _ = read(data, wanted, settings)
        assert list(frames) == wanted
        assert all(np.array_equal(frame, expected[number]) for number, frame in frames.items())
    assert wrong


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_more_is_decoded_than_a_frame_depends_on(settings, encoding):
    data = make(ENCODINGS[encoding])
    packets = pieces(data)
    # In decoding order: an open group's first frames depend on the group before it.
    shown = sorted(range(FRAMES), key=lambda at: packets[at].pts)
    for wanted in range(FRAMES):
        keys = [at for at, p in enumerate(packets) if p.key and p.pts <= packets[shown[wanted]].pts]
        _, decoded = read(data, [wanted], settings)
        assert decoded == shown[wanted] - keys[-1] + 1
    # Frames of one group cost no more than the last of them.
    assert read(data, [3, 4, 5], settings)[1] == max(shown[3:6]) + 1 if not packets[1].key else 3


@pytest.mark.parametrize("encoding", WHOLE)
def test_where_there_is_nothing_to_begin_at_all_is_decoded_in_front_of_it(settings, encoding):
    data = make(WHOLE[encoding])
    assert FRAMES - 2 <= read(data, [58], settings)[1] <= 2 * FRAMES


def test_false_keyframes_are_not_believed(settings):
    for options in ({"format": "avi", "codec": "mpeg4"}, {"format": "matroska"}):
        whole = clip(FRAMES, picture=moving, encoder={"g": 60, "bf": 0, "sc_threshold": 0}, **options)
        lie = remux(whole, (replace(piece, key=True) for piece in pieces(whole)), format=options["format"])
        expected = all_frames(whole)
        frames, _ = read(lie, [10, 40], settings)
        assert all(np.array_equal(frame, expected[number]) for number, frame in frames.items())
        assert list(frames) == [10, 40]


def test_parameters_that_change_on_the_way_are_not_left_out(settings):
    # FLV may carry new parameters at any time; what comes behind them cannot be decoded with the old ones.
    groups = {"g": 12, "bf": 0, "sc_threshold": 0}
    first = clip(FRAMES, format="flv", picture=moving, encoder=groups)
    second = clip(
        FRAMES, format="flv", picture=moving, encoder={**groups, "coder": 0, "refs": 1, "profile": "baseline"}
    )
    head = 13
    frames, _ = read(first + second[head:], [5, FRAMES + 30], settings)
    assert np.array_equal(frames[5], all_frames(first)[5])
    assert np.array_equal(frames[FRAMES + 30], all_frames(second)[30])


def test_a_picture_in_two_packets_counts_once(settings):
    data = interlaced(20)
    expected = all_frames(data)
    assert len(expected) == 20
    for wanted in ([0], [13], [4, 5, 19], list(range(20))):
        frames, decoded = read(data, wanted, settings)
        assert list(frames) == wanted
        assert all(np.array_equal(frame, expected[number]) for number, frame in frames.items())
        if len(wanted) == 1:
            assert decoded == 2


def test_a_picture_that_only_others_refer_to_is_none_of_those_shown(settings):
    whole = clip(30, format="webm", codec="libvpx", picture=moving, encoder={"g": 15})
    packets = pieces(whole)
    # `show_frame` is the fifth bit of a VP8 frame (RFC 6386, section 9.1).
    hidden = {5, 6, 20}
    packets = [
        replace(p, data=bytes([p.data[0] & ~0x10]) + p.data[1:]) if at in hidden else p for at, p in enumerate(packets)
    ]
    data = remux(whole, packets, format="webm")
    expected = [frame for at, frame in enumerate(all_frames(whole)) if at not in hidden]
    frames, _ = read(data, list(range(27)), settings)
    assert len(frames) == 27
    assert all(np.array_equal(frames[number], expected[number]) for number in frames)


def test_frames_in_front_of_an_edit_are_decoded_and_not_shown(settings):
    data = bytearray(clip(FRAMES, picture=moving, encoder={"g": 12, "bf": 0}))
    whole = all_frames(bytes(data))
    with av.open(io.BytesIO(data)) as container:
        unit = container.streams.video[0].time_base
    entry = data.index(b"elst") + 4 + 4 + 4
    struct.pack_into(">Ii", data, entry, struct.unpack_from(">I", data, entry)[0], int(17 / 25 / unit))
    frames, decoded = read(bytes(data), [0, 30], settings)
    assert np.array_equal(frames[0], whole[17])
    assert np.array_equal(frames[30], whole[47])
    assert decoded < FRAMES


def test_an_hour_costs_no_more_than_the_frames_that_are_wanted(settings):
    group = clip(30, rate=1, picture=moving, encoder={"g": 30, "bf": 2, "sc_threshold": 0})
    packets = pieces(group)
    length = 30 * packets[0].duration
    hour = remux(
        group,
        (replace(p, pts=p.pts + at * length, dts=p.dts + at * length) for at in range(120) for p in packets),
        format="mp4",
    )
    skipped = count("skipped")
    frames, decoded = read(hour, list(range(14, 3600, 225)), settings)
    assert len(frames) == 16
    assert decoded <= 16 * 30
    assert count("skipped") - skipped > 3000
