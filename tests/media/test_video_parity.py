"""Videos of constant rate come out as vLLM's own loader returns them: numbers, metadata and pixels.

vLLM 0.32's loader (``vllm/multimodal/video_decoders/opencv.py``) is these calls of OpenCV, and the rules of
``tessera.media.sampling``. Where it is wrong, see ``docs/media.md``.
"""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest

from tessera.media import MediaSpec
from tessera.media.sampling import sample
from tests.media.clips import clip, decode, moving

cv2 = pytest.importorskip("cv2", reason="comes with vLLM")

NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
CASES = [
    {"format": "mp4", "encoder": {"g": 12, "bf": 3}},
    {"format": "mp4", "rate": NTSC},
    {"format": "mp4", "pixel_format": "yuv420p10le"},
    *(
        {"tags": dict(zip(("colorspace", "color_primaries", "color_trc", "color_range"), tags, strict=True))}
        for tags in ((1, 1, 1, 1), (1, 1, 1, 2), (6, 6, 6, 1), (5, 5, 6, 2), (1, 1, 13, 1))
    ),
    {"format": "mp4", "codec": "libx265", "encoder": {"x265-params": "log-level=none"}},
    {"format": "mov", "codec": "mjpeg", "pixel_format": "yuvj420p", "rate": FILM},
    {"format": "matroska", "rate": NTSC, "encoder": {"g": 12, "x264-params": "open-gop=1"}},
    {"format": "matroska", "rate": 60},
    {"format": "webm", "codec": "libvpx", "rate": 15},
    {"format": "webm", "codec": "libvpx-vp9", "rate": NTSC, "encoder": {"cpu-used": 5, "deadline": "realtime"}},
    {"format": "flv", "rate": FILM, "encoder": {"bf": 0}},
    {"format": "avi", "codec": "mpeg4", "rate": Fraction(15, 2), "encoder": {"bf": 2}},
    {"format": "avi", "encoder": {"bf": 3}},
    {"format": "asf", "codec": "wmv2"},
    {"format": "gif", "codec": "gif", "pixel_format": "rgb8", "rate": 10},
]
SPECS = [
    MediaSpec(video_max_frames=7),
    MediaSpec(video_max_frames=100),
    MediaSpec(video_max_frames=768, video_fps=2.0),
    MediaSpec(video_max_frames=768, video_fps=4.0, video_sampling="qwen3_vl"),
]


class Loader:
    """One opened file of vLLM's."""

    def __init__(self, data):
        self.file = io.BytesIO(data)
        self.capture = cv2.VideoCapture(self.file, cv2.CAP_FFMPEG, [])
        self.total = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = self.capture.get(cv2.CAP_PROP_FPS)

    def read(self, wanted):
        frames = []
        for at in range(wanted[-1] + 1):
            assert self.capture.grab()
            if at in wanted:
                there, frame = self.capture.retrieve()
                assert there
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return np.stack(frames)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_a_constant_rate_is_read_as_vllm_reads_it(settings, case):
    data = clip(90, picture=moving, **case)
    for spec in SPECS:
        loader = Loader(data)
        wanted = sample(
            loader.total,
            loader.fps,
            max_frames=spec.video_max_frames,
            target_fps=spec.video_fps,
            rule=spec.video_sampling,
        )
        frames, metadata = decode(data, settings, spec)
        assert metadata == {
            "total_num_frames": loader.total,
            "fps": loader.fps,
            "duration": loader.total / loader.fps,
            "video_backend": "opencv",
            "frames_indices": wanted,
            "do_sample_frames": len(wanted) == loader.total,
        }
        assert np.array_equal(frames, loader.read(wanted))


def test_jitter_of_less_than_half_a_frame_is_no_other_rate(settings):
    times = [40 * at + (at * 7 % 19) for at in range(60)]
    data = clip(60, times=times, unit=Fraction(1, 1000), format="matroska")
    loader = Loader(data)
    _, metadata = decode(data, settings, MediaSpec(video_max_frames=9))
    assert (metadata["total_num_frames"], metadata["fps"]) == (loader.total, loader.fps)
    assert metadata["fps"] == 25.0
    assert metadata["frames_indices"] == sample(loader.total, 25.0, max_frames=9, target_fps=None, rule=None)
