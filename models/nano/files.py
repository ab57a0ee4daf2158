"""Examples as requests: their media as files of the usual formats, in an OpenAI message."""

from __future__ import annotations

import base64
import io
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

from models.nano.example import SAMPLE_RATE, Clip, Example, Medium, Picture, Question, Sound

Json = dict[str, Any]

_PICTURES = (("PNG", {}), ("JPEG", {"quality": 90}), ("WEBP", {"quality": 90}))


def messages(example: Example, question: Question, seed: int) -> list[Json]:
    """The example as a conversation that ends with the question; ``seed`` decides the formats of its pictures."""
    rng = np.random.default_rng(seed)
    content = [_part(part, rng) for part in example.content(question)]
    system = [{"role": "system", "content": example.system}] if example.system else []
    return [*system, {"role": "user", "content": content}]


def picture_file(picture: Picture, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file of Pillow's format ``kind``."""
    buffer = io.BytesIO()
    Image.fromarray(picture.pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def clip_file(clip: Clip) -> bytes:
    """The clip as H.264 in MP4; a last odd row or column is left out, as the codec wants even sides."""
    frames = clip.frames[:, : clip.frames.shape[1] // 2 * 2, : clip.frames.shape[2] // 2 * 2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=round(clip.fps), options={"crf": "20", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def sound_file(sound: Sound) -> bytes:
    """The sound as a 16-bit WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sound.samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _part(part: str | Medium, rng: np.random.Generator) -> Json:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Picture):
        kind, options = _PICTURES[int(rng.integers(len(_PICTURES)))]
        return {"type": "image_url", "image_url": _url(f"image/{kind.lower()}", picture_file(part, kind, **options))}
    if isinstance(part, Clip):
        return {"type": "video_url", "video_url": _url("video/mp4", clip_file(part))}
    return {"type": "audio_url", "audio_url": _url("audio/wav", sound_file(part))}


def _url(mime: str, data: bytes) -> Json:
    return {"url": f"data:{mime};base64,{base64.b64encode(data).decode()}"}
