"""Videos to sampled RGB frames, equal to what vLLM's own loader makes of the same file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media.container import moving_pictures, open_container
from tessera.media.item import MediaSpec
from tessera.media.limits import MAX_VIDEO_FRAMES, Deadline, max_item_bytes, media_errors
from tessera.media.painter import Frames, Painter
from tessera.media.sampling import sample
from tessera.media.sniff import Kind
from tessera.settings import Settings

# What transformers assumes of a video that does not say.
_UNKNOWN_FPS = 24.0
# More threads hold more frames in memory and gain little: the pool already keeps every core busy.
_CODEC_THREADS = min(4, os.cpu_count() or 1)
# vLLM counts one frame too few or too many in a header as nothing worth correcting.
_COUNT_TOLERANCE = 1


@dataclass(frozen=True, slots=True)
class _Facts:
    total: int
    fps: float

    @property
    def duration_s(self) -> float:
        return self.total / self.fps


def decode(
    data: bytes, kind: Kind, spec: MediaSpec, settings: Settings, deadline: Deadline
) -> tuple[Frames, dict[str, Any]]:
    """Decode the frames of a video that the model is to see; only those are ever held.

    Numbers and pixels are those of vLLM 0.32's OpenCV loader (``vllm/multimodal/video_decoders/opencv.py``):
    frame count and rate by FFmpeg's header, rotation applied, swscale to BGR with bicubic chroma. Frames above
    ``media_max_frame_pixels`` are scaled down as they are decoded.

    Args:
        data: encoded video.
        kind: its format; no other is tried.
        spec: which frames to sample.
        settings: limits.
        deadline: checked for every frame.

    Returns:
        Frames ``[n, height, width, 3]`` uint8 RGB, and vLLM's metadata of the video.

    Raises:
        InvalidMedia: damaged, or without a single video frame.
        MediaTooLarge: too long, too many frames or pixels.
        MediaDecodeTimeout: too slow to decode.
    """
    with media_errors("video"):
        facts = _inspect(data, kind, settings, deadline)
        indices = sample(
            facts.total,
            facts.fps,
            max_frames=spec.video_max_frames,
            target_fps=spec.video_fps,
            rule=spec.video_sampling,
        )
        frames, valid = _read(data, kind, indices, settings, deadline)
        metadata = {
            "total_num_frames": facts.total,
            "fps": facts.fps,
            "duration": facts.duration_s,
            "video_backend": "opencv",
            "frames_indices": valid,
            "do_sample_frames": len(valid) == facts.total,
        }
        return frames, metadata


def _inspect(data: bytes, kind: Kind, settings: Settings, deadline: Deadline) -> _Facts:
    """Count the frames and find their rate, by reading the packets without decoding them."""
    with open_container(data, kind) as container:
        stream = moving_pictures(container)
        _check_pixels(stream.codec_context.width, stream.codec_context.height, settings)
        rate = float(stream.guessed_rate or stream.average_rate or 0)
        header_s = max(container.duration or 0, 0) / av.time_base
        _check_duration(header_s, settings)
        counted, first, last = 0, math.inf, -math.inf
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            deadline.check()
            counted += 1
            if counted > MAX_VIDEO_FRAMES:
                raise MediaTooLarge(f"The video has more than {MAX_VIDEO_FRAMES} frames.")
            if packet.pts is not None and packet.time_base is not None:
                moment = float(packet.pts * packet.time_base)
                first, last = min(first, moment), max(last, moment)
        if counted == 0:
            raise InvalidMedia("The video has no frames.")
        facts = _settle(stream.frames, math.floor(header_s * rate + 0.5), counted, rate, last - first)
    _check_duration(facts.duration_s, settings)
    return facts


def _settle(header: int, estimate: int, counted: int, rate: float, span_s: float) -> _Facts:
    """Decide between what the header says, what OpenCV would guess and what is there.

    Args:
        header: frames by the container's header, 0 if it does not say.
        estimate: duration times rate, OpenCV's guess if the header does not say.
        counted: packets that are shown.
        rate: frames per second by the header, 0 if unknown.
        span_s: time between the first and the last frame.
    """
    measured = (counted - 1) / span_s if counted > 1 and 0 < span_s < math.inf else _UNKNOWN_FPS
    if header > 0:
        # Fewer are shown than stored where an edit list hides the lead-in of a trimmed video.
        total = counted if counted < header - _COUNT_TOLERANCE else header
        return _Facts(total, rate or measured)
    if rate > 0 and abs(estimate - counted) <= _COUNT_TOLERANCE:
        return _Facts(max(1, estimate), rate)
    # Screen recordings and MediaRecorder: no duration, or a frame only when something moves. OpenCV's guess
    # is off there (vLLM then returns fewer frames, or none), so these numbers are better than vLLM's.
    return _Facts(counted, measured)


def _read(
    data: bytes, kind: Kind, indices: list[int], settings: Settings, deadline: Deadline
) -> tuple[Frames, list[int]]:
    wanted = set(indices)
    valid: list[int] = []
    frames: Frames | None = None
    painter: Painter | None = None
    # Many frames share the room of one item: a long video is sent smaller, not refused.
    max_pixels = min(settings.media_max_frame_pixels, max_item_bytes(settings) // (3 * len(wanted)))
    for index, frame in enumerate(_frames(data, kind, settings, deadline)):
        if index in wanted:
            if painter is None or frames is None:
                painter = Painter(frame, max_pixels)
                frames = np.empty((len(wanted), *painter.shape), dtype=np.uint8)
            frames[len(valid)] = painter.paint(frame)
            valid.append(index)
        if index >= indices[-1]:
            break
    if frames is None:
        raise InvalidMedia("No frame of the video can be decoded.")
    return frames[: len(valid)], valid


def _frames(data: bytes, kind: Kind, settings: Settings, deadline: Deadline) -> Iterator[VideoFrame]:
    with open_container(data, kind) as container:
        stream = moving_pictures(container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _CODEC_THREADS
        for packet in container.demux(stream):
            deadline.check()
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                # A damaged packet costs its own frame, not the video; OpenCV passes over it too.
                continue
            for frame in decoded:
                deadline.check()
                _check_pixels(frame.width, frame.height, settings)
                yield frame


def _check_pixels(width: int, height: int, settings: Settings) -> None:
    limit = settings.media_max_image_pixels
    if width * height > limit:
        raise MediaTooLarge(f"The video has frames of {width}x{height} pixels; at most {limit} pixels are allowed.")


def _check_duration(duration_s: float, settings: Settings) -> None:
    limit = settings.media_max_video_s
    if duration_s > limit:
        raise MediaTooLarge(f"The video lasts {duration_s:.1f} s; at most {limit:g} s are allowed.")
