"""Media as clients send it, made anew each time: pages, photographs, long clips and long recordings."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFilter

_CLIP_FPS = 25
# x264's own distance of keyframes.
_GOP_FRAMES = 250
_RATE_HZ = 44_100


def page(number: int, width: int = 1275, height: int = 1650) -> bytes:
    """A page of text, scanned at 150 dots an inch: JPEG."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(60):
        draw.text(
            (90, 60 + 25 * line), f"{number}-{line} " + "The quick brown fox jumps over the lazy dog. " * 3, "black"
        )
    return _jpeg(picture)


def photograph(number: int, width: int = 4032, height: int = 3024) -> bytes:
    """Twelve megapixels of soft shapes with some grain: JPEG."""
    chance = np.random.default_rng(number)
    coarse = chance.integers(0, 256, (height // 96, width // 96, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.effect_noise((width, height), 12).convert("RGB")
    return _jpeg(Image.blend(picture, grain, 0.1).filter(ImageFilter.GaussianBlur(1)))


def clip(minutes: int, width: int = 640, height: int = 360) -> bytes:
    """A moving picture: MP4, H.264, 25 frames a second, a keyframe each 10 s."""
    file = BytesIO()
    with av.open(BytesIO(_scene(width, height)), "r") as scene, av.open(file, "w", format="mp4") as output:
        source = scene.streams.video[0]
        stream: Any = output.add_stream_from_template(source)
        packets = [packet for packet in scene.demux(source) if packet.size]
        tick_s = source.time_base or Fraction(1)
        ticks = round(_GOP_FRAMES / _CLIP_FPS / tick_s)
        contents = [(bytes(p), p.pts or 0, p.dts or 0, p.duration, p.is_keyframe) for p in packets]
        for scene_number in range(minutes * 60 * _CLIP_FPS // _GOP_FRAMES):
            for content, pts, dts, duration, key in contents:
                packet = av.Packet(content)
                packet.pts, packet.dts = pts + scene_number * ticks, dts + scene_number * ticks
                packet.duration, packet.time_base, packet.is_keyframe = duration, tick_s, key
                packet.stream = stream
                output.mux(packet)
    return file.getvalue()


def recording(minutes: int) -> bytes:
    """A tone that rises, in stereo: MP3."""
    times = np.arange(minutes * 60 * _RATE_HZ, dtype=np.float32) / _RATE_HZ
    wave = 0.4 * np.sin(2 * np.pi * (200 + times) * times)
    file = BytesIO()
    soundfile.write(file, np.stack([wave, wave], 1), _RATE_HZ, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _scene(width: int, height: int) -> bytes:
    file = BytesIO()
    rows, columns = np.mgrid[0:height, 0:width]
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=_CLIP_FPS, options={"crf": "32", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = _GOP_FRAMES
        for number in range(_GOP_FRAMES):
            red = (rows + 3 * number) % 256
            green = (columns + number) % 256
            frame = av.VideoFrame.from_ndarray(
                np.stack([red, green, np.full_like(red, number % 256)], -1).astype(np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, _CLIP_FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()
