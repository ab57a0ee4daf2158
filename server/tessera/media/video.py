"""Videos to sampled RGB frames; of a constant rate, equal to what vLLM's own loader makes of the same file."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from tessera.errors import MediaDecodeFailed, MediaTooLong
from tessera.media import dolby_vision
from tessera.media.container import moving_pictures, open_container
from tessera.media.frames import FrameReader, check_pixels
from tessera.media.item import MediaSpec
from tessera.media.limits import Deadline, max_item_bytes, media_errors
from tessera.media.packets import PacketIndex, read_packets
from tessera.media.painter import Frames, Painter
from tessera.media.sampling import by_rate, sample, takes_all
from tessera.media.sniff import Kind
from tessera.media.timeline import Header, Timeline
from tessera.settings import Settings


def decode(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> tuple[Frames, dict[str, Any]]:
    """Decode the frames of a video that the model is to see; only those are ever held.

    Numbers and pixels are those of vLLM 0.32's OpenCV loader (``vllm/multimodal/video_decoders/opencv.py``) where
    that is right, which is for videos of constant rate with a true header: frame count and rate by FFmpeg's header,
    swscale to BGR with bicubic chroma. For others the frames' own times count (see ``Timeline``). Frames above
    ``media_max_frame_pixels`` are scaled down as they are decoded.

    Args:
        data: encoded video.
        kind: its format; no other is tried.
        spec: which frames to sample.
        settings: limits.
        deadline: checked for every packet and frame.

    Returns:
        Frames ``[n, height, width, 3]`` uint8 RGB, and vLLM's metadata of the video. ``frames_indices`` divided by
        ``fps`` are the frames' times, s.

    Raises:
        MediaDecodeFailed: damaged, without a single video frame, or in colours that are not read.
        MediaTooLarge: too long, too many frames or pixels.
        MediaDecodeTimeout: too slow to decode.
    """
    with media_errors("video"):
        dolby_vision.check(data, kind, deadline)
        index, timeline = _inspect(data, kind, settings, deadline)
        picks = timeline.pick(_steps(timeline, spec))
        frames, steps = _read(FrameReader(data, kind, index, settings, deadline), picks, settings, deadline)
        metadata = {
            "total_num_frames": timeline.total,
            "fps": timeline.fps,
            "duration": timeline.duration_s,
            "video_backend": "opencv",
            "frames_indices": steps,
            # Frames that were taken at a rate are those that are meant, even when they are all that there are.
            "do_sample_frames": len(steps) == timeline.total and not by_rate(spec.video_fps, spec.video_sampling),
        }
        return frames, metadata


def _inspect(data: bytes, kind: Kind, settings: Settings, deadline: Deadline) -> tuple[PacketIndex, Timeline]:
    """Find out when which frames are shown, by reading the packets without decoding them."""
    with open_container(data, kind) as container:
        stream = moving_pictures(container)
        check_pixels(stream.codec_context.width, stream.codec_context.height, settings)
        index = read_packets(container, stream, deadline)
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        header = Header(
            tuple(float(rate or 0) for rate in rates), stream.frames, max(container.duration or 0, 0) / av.time_base
        )
    if index.moments is not None:
        # First of all: arithmetic with steps is only safe with times that make sense.
        _check_duration(float(index.moments[-1]), settings)
    timeline = Timeline.of(index, header)
    _check_duration(timeline.duration_s, settings)
    return index, timeline


def _check_duration(duration_s: float, settings: Settings) -> None:
    limit = settings.media_max_video_s
    if duration_s > limit:
        raise MediaTooLong(f"The video lasts {duration_s:.1f} s; at most {limit:g} s are allowed.")


def _steps(timeline: Timeline, spec: MediaSpec) -> list[int]:
    """The steps whose frames the model is to see."""
    wanted: dict[str, Any] = {
        "max_frames": spec.video_max_frames,
        "target_fps": spec.video_fps,
        "rule": spec.video_sampling,
    }
    if not timeline.constant and takes_all(len(timeline.steps), **wanted):
        # No frame is left out for being shown for less time than others.
        steps: list[int] = np.unique(timeline.steps).tolist()
        return steps
    return sample(timeline.total, timeline.fps, **wanted)


def _read(
    reader: FrameReader, picks: list[tuple[int, int]], settings: Settings, deadline: Deadline
) -> tuple[Frames, list[int]]:
    """Frames and their steps; damaged ones are left out."""
    places: dict[int, list[int]] = {}
    for place, (_, frame) in enumerate(picks):
        places.setdefault(frame, []).append(place)
    # Many frames share the room of one item: a long video is sent smaller, not refused.
    max_pixels = min(settings.media_max_frame_pixels, max_item_bytes(settings) // (3 * len(picks)))
    painter: Painter | None = None
    frames = np.empty((0,), dtype=np.uint8)
    found = np.zeros(len(picks), dtype=np.bool_)
    for number, picture in reader.read(list(places)):
        if painter is None:
            painter = Painter(picture, max_pixels, deadline)
            frames = np.empty((len(picks), *painter.shape), dtype=np.uint8)
        frames[places[number]] = painter.paint(picture)
        found[places[number]] = True
    if painter is None:
        raise MediaDecodeFailed("No frame of the video can be decoded.")
    steps = [step for (step, _), there in zip(picks, found, strict=True) if there]
    return frames if found.all() else frames[found], steps
