"""When frames are shown is up to their own times: not to their number, a nominal rate or another stream."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from tessera.errors import MediaTooLarge
from tessera.media import MediaSpec
from tests.media.clips import clip, decode, later, number, numbered, pieces, remux, seen

MILLISECOND = Fraction(1, 1000)
# A screen recording of a minute at 25 frames per second: a frame only when something changes. In frames.
CHANGES = [0, 1, 2, 3, 30, 31, 200, 201, 202, 203, 204, 700, 1100, 1101, 1474, 1475]
GROUPS_OF_10 = {"g": 10, "bf": 0, "sc_threshold": 0}
QWEN = MediaSpec(video_max_frames=768, video_fps=2.0)


def on_screen(times_s, at_s):
    """The number of the frame that is shown at a time."""
    return int(np.searchsorted(times_s, at_s + 1e-9, side="right")) - 1


FORMATS = [
    {"format": "mp4"},
    {"format": "mov", "codec": "mjpeg", "pixel_format": "yuvj420p"},
    {"format": "matroska"},
    {"format": "webm", "codec": "libvpx"},
    {"format": "webm", "codec": "libvpx-vp9", "options": {"live": "1"}},
    {"format": "flv"},
    {"format": "asf", "codec": "wmv2"},
    {"format": "avi", "codec": "mpeg4"},
    {"format": "gif", "codec": "gif", "pixel_format": "rgb8"},
]


@pytest.mark.parametrize("options", FORMATS, ids=lambda options: "-".join(map(str, options.values())))
def test_a_screen_recording_lasts_as_long_as_it_is(settings, options):
    data = clip(len(CHANGES), times=CHANGES, **options)
    frames, metadata = decode(data, settings)
    assert metadata["duration"] == pytest.approx(59.0, abs=1.1)
    assert metadata["total_num_frames"] == pytest.approx(metadata["duration"] * metadata["fps"])
    assert not metadata["do_sample_frames"]
    # All fit, so all are taken, and once.
    assert [number(frame) for frame in frames] == list(range(len(CHANGES)))
    times = [index / metadata["fps"] for index in metadata["frames_indices"]]
    assert times == pytest.approx([change / 25 for change in CHANGES], abs=0.0015)


@pytest.mark.parametrize("options", FORMATS, ids=lambda options: "-".join(map(str, options.values())))
def test_a_rate_is_a_rate_of_time_and_not_of_frames(settings, options):
    data = clip(len(CHANGES), times=CHANGES, **options)
    told = seen(data, settings, QWEN)
    assert len(told) == pytest.approx(2 * 59, abs=3)
    at, shown = zip(*told, strict=True)
    assert list(shown) == [on_screen(np.array(CHANGES) / 25, time + 0.001) for time in at]
    # Spread evenly: a frame that has just appeared is told at the time when it did.
    assert max(np.diff(at)) < 1.01
    assert min(np.diff(at)) > 0


def test_a_recording_that_left_frames_out_is_sampled_as_the_one_that_did_not(settings):
    full = [on_screen(np.array(CHANGES), step) for step in range(CHANGES[-1] + 1)]
    twin = clip(len(full), picture=lambda step: numbered(full[step]))
    sparse = clip(len(CHANGES), times=CHANGES)
    for spec in (MediaSpec(video_max_frames=8), MediaSpec(video_max_frames=12), QWEN):
        expected, there = seen(twin, settings, spec), seen(sparse, settings, spec)
        assert [shown for _, shown in there] == [shown for _, shown in expected]
        # The twin's frames are older than their times by up to the gap in front of them.
        assert all(time <= asked for (time, _), (asked, _) in zip(there, expected, strict=True))


@pytest.mark.parametrize("format", ["mp4", "matroska"])
def test_times_that_fit_no_rate_are_exact_to_the_millisecond(settings, format):
    times = [7 * index * index + 13 * index for index in range(40)]
    data = clip(40, times=times, unit=MILLISECOND, format=format)
    told = seen(data, settings, MediaSpec(video_max_frames=64))
    assert [shown for _, shown in told] == list(range(40))
    assert [time for time, _ in told] == pytest.approx([time / 1000 for time in times], abs=0.0006)
    few = seen(data, settings, MediaSpec(video_max_frames=6))
    assert [time for time, _ in few] == pytest.approx([times[shown] / 1000 for _, shown in few], abs=0.0006)
    _, metadata = decode(data, settings)
    spread = np.linspace(0, metadata["total_num_frames"] - 1, 6, dtype=int)
    assert [shown for _, shown in few] == [on_screen(times, asked) for asked in spread]


def test_a_gifs_own_delays_count(settings):
    times = [0, 10, 20, 300, 310, 1000]
    told = seen(clip(6, format="gif", codec="gif", pixel_format="rgb8", times=times, unit=Fraction(1, 100)), settings)
    assert told == [(time / 100, index) for index, time in enumerate(times)]


def test_a_wrong_nominal_rate_moves_nothing(settings):
    # Matroska's header says 25 frames per second, and there are 5.
    data = clip(250, times=[5 * index for index in range(250)], format="matroska")
    told = seen(data, settings, MediaSpec(video_max_frames=5))
    assert told == [(pytest.approx(shown / 5), shown) for shown in (0, 62, 124, 186, 249)]
    # And here 33 ms (DefaultDuration, 0x23E383, in ns) for a 30th of a second: a minute too much in an hour and a half.
    data = bytearray(clip(1800, rate=30, format="matroska"))
    at = data.index(b"\x23\xe3\x83\x84") + 4
    data[at : at + 4] = (33_000_000).to_bytes(4, "big")
    told = seen(bytes(data), settings, MediaSpec(video_max_frames=5))
    frames = [round(30 * time) for time, _ in told]
    assert frames == [0, 449, 899, 1349, 1799]
    assert [shown for _, shown in told] == [frame % 256 for frame in frames]
    assert [time for time, _ in told] == pytest.approx([frame / 30 for frame in frames], abs=0.002)


def test_lost_packets_move_none_of_those_behind_them(settings):
    for container in ("matroska", "mp4", "flv", "mpegts"):
        whole = clip(100, format=container, encoder=GROUPS_OF_10)
        kept = [piece for at, piece in enumerate(pieces(whole)) if not 31 <= at < 50]
        told = seen(remux(whole, kept, format=container), settings, MediaSpec(video_max_frames=100))
        assert told == [(pytest.approx(at / 25, abs=0.0015), at) for at in range(100) if not 31 <= at < 50]


@pytest.mark.parametrize(
    "options",
    [
        {"format": "matroska", "codec": "libvpx-vp9"},
        {"format": "mp4", "codec": "mjpeg", "pixel_format": "yuvj420p"},
        {"format": "mpegts", "codec": "mpeg2video"},
        {"format": "avi", "codec": "mpeg4"},
    ],
    ids=lambda options: options["format"],
)
def test_a_damaged_packet_costs_its_own_frame_and_moves_none(settings, options):
    whole = clip(40, encoder={"g": 1}, **options)
    packets = [
        replace(piece, data=b"\xff" * 64) if at in (7, 8, 23) else piece for at, piece in enumerate(pieces(whole))
    ]
    told = seen(remux(whole, packets, format=options["format"]), settings, MediaSpec(video_max_frames=40))
    there = [shown for _, shown in told]
    assert set(range(40)) - set(there) == {7, 8, 23}
    assert told == [(pytest.approx(shown / 25, abs=0.0015), shown) for shown in there]


def test_a_header_that_counts_too_few_frames_hides_none(settings):
    data = bytearray(clip(50, format="avi", codec="mpeg4"))
    main, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
    struct.pack_into("<I", data, main + 16, 5)
    struct.pack_into("<I", data, stream + 32, 5)
    told = seen(bytes(data), settings, MediaSpec(video_max_frames=64))
    assert told == [(index / 25, index) for index in range(50)]
    data = bytearray(clip(50, format="flv"))
    at = data.index(b"duration") + len("duration") + 1
    struct.pack_into(">d", data, at, 0.2)
    told = seen(bytes(data), settings, MediaSpec(video_max_frames=64))
    assert told == [(pytest.approx(index / 25), index) for index in range(50)]


def test_recordings_that_were_joined_follow_one_another(settings):
    first, second = (
        clip(40, format="mpegts", encoder=GROUPS_OF_10),
        clip(30, format="mpegts", encoder=GROUPS_OF_10, picture=lambda i: numbered(100 + i)),
    )
    expected = [(pytest.approx(at / 25), at if at < 40 else 60 + at) for at in range(70)]
    assert seen(first + second, settings, MediaSpec(video_max_frames=80)) == expected
    shifted = remux(second, (later(piece, 90_000 * 5000) for piece in pieces(second)), format="mpegts")
    assert seen(first + shifted, settings, MediaSpec(video_max_frames=80)) == expected


def test_a_recording_that_begins_in_the_middle_begins_with_its_first_keyframe(settings):
    whole = clip(60, format="mpegts", encoder=GROUPS_OF_10)
    cut = remux(whole, pieces(whole)[13:], format="mpegts")
    told = seen(cut, settings, MediaSpec(video_max_frames=60))
    assert told == [(pytest.approx((at - 20) / 25), at) for at in range(20, 60)]


def _subtitle(container):
    stream = container.add_stream("srt")
    stream.codec_context.subtitle_header = b"[Script Info]\n"
    packet = av.Packet(b"late")
    packet.stream, packet.time_base = stream, MILLISECOND
    packet.pts = packet.dts = 4_200_000
    packet.duration = 1000
    return [packet]


def _sound(container):
    stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
    packets = []
    for second in (0, 4200):
        packet = av.Packet(bytes(1600))
        packet.stream, packet.time_base = stream, Fraction(1, 8000)
        packet.pts = packet.dts = second * 8000
        packet.duration = 800
        packets.append(packet)
    return packets


@pytest.mark.parametrize("also", [_subtitle, _sound])
def test_the_length_of_a_video_is_that_of_its_pictures(settings, make_settings, also):
    whole = clip(50, format="matroska")
    data = remux(whole, pieces(whole), format="matroska", also=also)
    told = seen(data, settings, MediaSpec(video_max_frames=5))
    assert told == [(pytest.approx(shown / 25), shown) for shown in (0, 12, 24, 36, 49)]
    _, metadata = decode(data, settings)
    assert metadata["duration"] == 2.0
    with pytest.raises(MediaTooLarge, match=r"lasts 2\.0 s; at most 1\.9"):
        decode(data, make_settings(media_max_video_s=1.9))


@pytest.mark.parametrize("count", [0, 0x7FFFFFFF])
def test_an_avi_from_a_pipe_lasts_as_long_as_it_is(settings, count):
    # Whoever writes to a pipe cannot come back to fill in the header, nor write an index.
    data = bytearray(clip(50, format="avi", codec="mpeg4"))
    main, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
    struct.pack_into("<I", data, main + 16, count)
    struct.pack_into("<I", data, stream + 32, count)
    struct.pack_into("<I", data, 4, 0)
    data = data[: data.index(b"idx1")]
    told = seen(bytes(data), settings, MediaSpec(video_max_frames=5))
    assert told == [(shown / 25, shown) for shown in (0, 12, 24, 36, 49)]


def test_a_long_last_frame_counts_in_the_length(settings, make_settings):
    data = clip(3, format="gif", codec="gif", pixel_format="rgb8", times=[0, 100, 200], unit=Fraction(1, 100))
    shown = data.rindex(b"\x21\xf9\x04") + 4
    data = data[:shown] + struct.pack("<H", 3000) + data[shown + 2 :]
    _, metadata = decode(data, settings)
    assert metadata["duration"] == pytest.approx(32.0)
    with pytest.raises(MediaTooLarge):
        decode(data, make_settings(media_max_video_s=31.0))


def test_steps_are_ascending_and_no_frame_is_older_than_its_step(settings):
    rng = np.random.default_rng(1)
    for _ in range(6):
        times = [0, *itertools.accumulate(rng.integers(1, 900, 39).tolist())]
        data = clip(40, times=times, unit=MILLISECOND, format="matroska")
        for spec in (MediaSpec(video_max_frames=12), QWEN, MediaSpec(video_fps=3.0, video_sampling="qwen3_vl")):
            told = seen(data, settings, spec)
            at = [time for time, _ in told]
            assert at == sorted(set(at))
            assert [shown for _, shown in told] == [on_screen(times, round(1000 * time)) for time in at]
