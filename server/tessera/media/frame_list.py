"""Videos that vLLM's clients send as a list of images: ``data:video/jpeg;base64,<image>,<image>,…``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import msgpack
import numpy as np

from tessera.errors import MediaDecodeFailed, MediaTooLarge, MediaTooLong, TesseraError
from tessera.media import base64_text, image
from tessera.media.item import MediaSpec, Modality
from tessera.media.limits import MAX_VIDEO_FRAMES, Deadline, max_item_bytes
from tessera.media.painter import Frames, Painter
from tessera.media.sampling import sample
from tessera.media.sniff import Kind, identify
from tessera.settings import Settings

KIND = Kind(Modality.VIDEO, "video/jpeg")
"""The kind of what ``read`` returns; of the images themselves any that an image part may have will do."""

# What vLLM takes for the rate of a list unless the request says another (``media_io_kwargs.video.fps``).
_FPS = 1.0


def read(text: str, spec: MediaSpec, max_bytes: int) -> bytes:
    """Take the images that the model is to see out of a list, for ``decode``.

    Where there are more than the model takes, they are spread evenly over the list; vLLM takes the first ones.

    Args:
        text: the list: base64, divided by commas.
        spec: how many frames the model takes.
        max_bytes: most bytes of the whole list, decoded.

    Raises:
        MediaDecodeFailed: an image is not base64, or there is none; it is named by its number.
        MediaTooLarge: too many frames or bytes.
    """
    total = text.count(",") + 1
    if total > MAX_VIDEO_FRAMES:
        raise MediaTooLong(f"The video has more than {MAX_VIDEO_FRAMES} frames.")
    listed = text.split(",")
    indices = sample(total, _FPS, max_frames=spec.video_max_frames, target_fps=None, rule="opencv")
    images: list[bytes] = []
    for index in indices:
        with _naming(index):
            images.append(base64_text.decode(listed[index], max_bytes))
        if sum(map(len, images)) > max_bytes:
            raise MediaTooLarge(f"The frames of the list have more than {max_bytes} bytes, which is the most allowed.")
    packed: bytes = msgpack.packb({"total": total, "indices": indices, "images": images})
    return packed


def decode(data: bytes, spec: MediaSpec, settings: Settings, deadline: Deadline) -> tuple[Frames, dict[str, Any]]:
    """Decode what ``read`` returned.

    Args:
        data: the images.
        spec: the rate at which they were taken, ``video_fps``; None: vLLM's default, one a second.
        settings: limits.
        deadline: checked for every frame.

    Returns:
        Frames ``[n, height, width, 3]`` uint8 RGB, scaled down to ``media_max_frame_pixels``, and the metadata that
        vLLM 0.32 makes of such a list (``vllm/multimodal/media/video.py``).

    Raises:
        MediaDecodeFailed: an image is damaged, or of another size than the first; it is named by its number.
        MediaTooLarge: an image has too many pixels.
        MediaDecodeTimeout: too slow to decode.
    """
    packed = msgpack.unpackb(data)
    indices, images = packed["indices"], packed["images"]
    max_pixels = min(settings.media_max_frame_pixels, max_item_bytes(settings) // (3 * len(images)))
    painter: Painter | None = None
    frames = np.empty(0, dtype=np.uint8)
    size = 0, 0
    for place, (index, encoded) in enumerate(zip(indices, images, strict=True)):
        deadline.check()
        with _naming(index):
            picture = _picture(encoded, settings, deadline)
            if painter is None:
                painter = Painter(picture, max_pixels, deadline)
                frames = np.empty((len(images), *painter.shape), dtype=np.uint8)
                size = picture.width, picture.height
            if (picture.width, picture.height) != size:
                raise MediaDecodeFailed(
                    f"It has {picture.width}x{picture.height} pixels and the first frame {size[0]}x{size[1]}; "
                    "all have to have the same size."
                )
        frames[place] = painter.paint(picture)
    fps = spec.video_fps or _FPS
    return frames, {
        "total_num_frames": packed["total"],
        "fps": fps,
        "duration": packed["total"] / fps,
        "video_backend": "jpeg_sequence",
        "frames_indices": indices,
        "do_sample_frames": False,
    }


def _picture(encoded: bytes, settings: Settings, deadline: Deadline) -> av.VideoFrame:
    picture = image.decode(encoded, identify(encoded, Modality.IMAGE, None), settings, deadline)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """Name the frame that an error is about; frames are counted from 1."""
    try:
        yield
    except TesseraError as error:
        raise type(error)(f"Frame {index + 1} of the list: {error.message}") from error
