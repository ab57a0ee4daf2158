from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tessera.errors import InvalidMedia, MediaDecodeTimeout, MediaTooLarge
from tessera.media import MediaSpec, packets, video
from tessera.media.limits import Deadline, max_item_bytes
from tessera.media.sniff import sniff


def decode(data, settings, spec=None, deadline=None):
    return video.decode(data, sniff(data), spec or MediaSpec(), settings, deadline or Deadline())


def greys(frames):
    return [round(float(frame.mean()) / 10) for frame in frames]


def test_all_frames_of_a_short_video_in_order_with_metadata(samples, settings):
    frames, metadata = decode(samples.video(12), settings)
    assert frames.shape == (12, 48, 64, 3)
    assert greys(frames) == list(range(12))
    assert metadata == {
        "total_num_frames": 12,
        "fps": 25.0,
        "duration": 0.48,
        "video_backend": "opencv",
        "frames_indices": list(range(12)),
        "do_sample_frames": True,
    }


def test_long_videos_are_sampled_by_the_spec(samples, settings):
    data = samples.video(25)
    frames, metadata = decode(data, settings, MediaSpec(video_max_frames=4))
    assert metadata["frames_indices"] == [0, 8, 16, 24]
    assert not metadata["do_sample_frames"]
    assert greys(frames) == [0, 8, 16, 24]
    _, metadata = decode(data, settings, MediaSpec(video_fps=4.0))
    assert metadata["frames_indices"] == [0, 6, 12, 18]


@pytest.mark.parametrize(
    "options",
    [
        {"format": "webm", "codec": "libvpx"},
        {"format": "matroska", "codec": "mpeg4"},
        {"format": "avi", "codec": "mpeg4"},
        {"format": "mov"},
        {"format": "mpegts"},
        {"format": "flv", "codec": "flv1"},
        {"format": "mp4", "pixel_format": "yuv420p10le"},
        {"format": "gif", "codec": "gif", "pixel_format": "rgb8"},
    ],
)
def test_every_container_decodes(samples, settings, options):
    frames, metadata = decode(samples.video(10, **options), settings)
    assert frames.shape == (10, 48, 64, 3)
    assert metadata["total_num_frames"] == 10
    assert metadata["fps"] == pytest.approx(25.0)


def test_one_frame_is_a_video(samples, settings):
    frames, metadata = decode(samples.video(1), settings, MediaSpec(video_fps=2.0))
    assert len(frames) == 1
    assert metadata["frames_indices"] == [0]
    assert len(decode(samples.image("GIF"), settings)[0]) == 1


def test_large_frames_are_scaled_down_keeping_their_aspect(samples, make_settings):
    data = samples.video(3, width=160, height=120)
    frames, _ = decode(data, make_settings(media_max_frame_pixels=160 * 120))
    assert frames.shape[1:3] == (120, 160)
    frames, _ = decode(data, make_settings(media_max_frame_pixels=160 * 120 - 1))
    assert frames.shape[1:3] == (118, 158)
    frames, _ = decode(data, make_settings(media_max_frame_pixels=4800))
    assert frames.shape[1:3] == (60, 80)


def test_many_frames_share_the_room_of_one_item(samples, make_settings):
    settings = make_settings(media_store_max_bytes=4 * 1024 * 1024 + 4 * 200_000)
    frames, _ = decode(samples.video(12, width=160, height=120), settings)
    assert len(frames) == 12
    assert 100_000 < frames.nbytes <= max_item_bytes(settings)


def test_a_stream_without_duration_or_index_decodes(samples, settings):
    data = samples.video(10, format="webm", codec="libvpx", live="1")
    frames, metadata = decode(data, settings)
    assert len(frames) == metadata["total_num_frames"] == 10


def test_the_duration_limit(samples, make_settings):
    data = samples.video(25)
    assert len(decode(data, make_settings(media_max_video_s=1.0))[0]) == 25
    with pytest.raises(MediaTooLarge, match=r"lasts 1\.0 s; at most 0\.9"):
        decode(data, make_settings(media_max_video_s=0.9))
    live = samples.video(25, format="webm", codec="libvpx", live="1")
    with pytest.raises(MediaTooLarge):
        decode(live, make_settings(media_max_video_s=0.9))


def test_the_frame_limit(samples, settings, monkeypatch):
    monkeypatch.setattr(packets, "MAX_VIDEO_FRAMES", 10)
    assert len(decode(samples.video(10), settings)[0]) == 10
    with pytest.raises(MediaTooLarge, match="more than 10 frames"):
        decode(samples.video(11), settings)


def test_the_pixel_limit_of_the_source(samples, make_settings):
    with pytest.raises(MediaTooLarge, match="64x48"):
        decode(samples.video(3), make_settings(media_max_image_pixels=64 * 48 - 1))


def test_wall_time_is_limited(samples, settings):
    with pytest.raises(MediaDecodeTimeout, match="takes longer than"):
        decode(samples.video(3), settings, deadline=Deadline(-1))


def test_a_file_with_sound_only_is_no_video(samples, settings):
    with pytest.raises(InvalidMedia, match="no video stream"):
        decode(samples.audio("mp4", "aac"), settings)


def test_an_unknown_codec_is_named_as_the_reason(samples, settings):
    data = samples.video(3, format="matroska")
    with pytest.raises(InvalidMedia, match="codec that this server does not read"):
        decode(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"), settings)


def test_a_video_without_frames_is_refused(samples, settings):
    data = samples.video(3, format="matroska", codec="mpeg4")
    cluster = data.index(b"\x1f\x43\xb6\x75")
    with pytest.raises(InvalidMedia):
        decode(data[:cluster], settings)


def test_a_truncated_video_gives_the_frames_that_are_there_or_an_error(samples, settings):
    data = samples.video(12, format="matroska", codec="mpeg4")
    for cut in range(100, len(data), len(data) // 20):
        try:
            frames, metadata = decode(data[:cut], settings)
        except InvalidMedia:
            continue
        assert len(frames) == len(metadata["frames_indices"]) > 0


@pytest.mark.parametrize("format", ["mp4", "matroska", "mpegts", "flv", "avi", "gif"])
def test_damaged_videos_raise_nothing_else(samples, settings, format):
    codec = {"avi": {"codec": "mpeg4"}, "gif": {"codec": "gif", "pixel_format": "rgb8"}}.get(format, {})
    good = samples.video(8, width=32, height=32, format=format, **codec)
    rng = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.integers(1, 10)):
            data[rng.integers(12, len(data))] = rng.integers(256)
        try:
            frames, metadata = video.decode(bytes(data), sniff(good), MediaSpec(), settings, Deadline())
        except (InvalidMedia, MediaTooLarge):
            continue
        assert frames.ndim == 4
        assert len(frames) == len(metadata["frames_indices"])


def test_an_image_is_never_opened_by_a_guess(settings):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    with pytest.raises(InvalidMedia):
        video.decode(buffer.getvalue(), sniff(b"\x00\x00\x00\x18ftypisom"), MediaSpec(), settings, Deadline())
