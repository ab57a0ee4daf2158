"""The sample video."""

import io

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 224  # pixels a side
FRAMES = 16
FRAMES_PER_SECOND = 8
RADIUS = 28  # pixels
BLUE = (30, 60, 220)
WHITE = (255, 255, 255)
# The first that PyAV can encode here is used. x264's control of the bit rate and its look-ahead give other bytes on a
# busy machine now and then; constant quality and the preset without look-ahead do not.
_CODECS = {"libx264": {"crf": "23", "preset": "ultrafast"}, "mpeg4": {"b": "200k"}}


def video() -> bytes:
    """Return an MP4 of 2 s, 16 frames of 224 by 224 pixels: a blue ball crosses white ground from left to right."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        codec = next(name for name in _CODECS if name in av.codecs_available)
        stream = container.add_stream(codec, rate=FRAMES_PER_SECOND, options=_CODECS[codec])
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        # More threads would split the frames in other places.
        stream.codec_context.thread_count = 1
        for index in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(_frame(index), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


def _frame(index: int) -> NDArray[np.uint8]:
    """Return frame ``index`` as RGB of shape (224, 224, 3)."""
    picture = Image.new("RGB", (SIZE, SIZE), WHITE)
    centre = RADIUS + (SIZE - 2 * RADIUS) * index / (FRAMES - 1)
    box = (centre - RADIUS, SIZE / 2 - RADIUS, centre + RADIUS, SIZE / 2 + RADIUS)
    ImageDraw.Draw(picture).ellipse(box, fill=BLUE)
    return np.asarray(picture)
