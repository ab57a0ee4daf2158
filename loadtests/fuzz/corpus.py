"""Small whole files of every format that the server reads, to be damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any, NamedTuple

import av
import numpy as np
import pillow_heif
import soundfile
from PIL import Image

from loadtests.fuzz.pdf import pdf, square, words

_WIDTH, _HEIGHT = 40, 24
_FRAMES, _FPS = 6, 10
_RATE_HZ = 16_000
_SOUND_S = 0.3
# Of codecs that do not take every rate.
_RATES_HZ = {"libopus": 48_000, "libopencore_amrnb": 8_000}

_IMAGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": ("RGB", "PNG", {}),
    "png, palette": ("P", "PNG", {}),
    "png, 16 bit": ("I;16", "PNG", {}),
    "png, alpha": ("RGBA", "PNG", {}),
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg, progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg, cmyk": ("CMYK", "JPEG", {}),
    "webp": ("RGB", "WEBP", {}),
    "webp, lossless": ("RGBA", "WEBP", {"lossless": True}),
    "gif": ("P", "GIF", {}),
    "bmp": ("RGB", "BMP", {}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff, lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff, jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
    "avif": ("RGB", "AVIF", {}),
    "ico": ("RGB", "ICO", {"sizes": [(16, 16), (40, 24)]}),
    "ico, bitmap": ("RGBA", "ICO", {"sizes": [(16, 16), (40, 24)], "bitmap_format": "bmp"}),
}
# Format and codec as libsndfile names them, and how many channels.
_SOUNDS = {
    "wav": ("WAV", "PCM_16", 1),
    "wav, float": ("WAV", "FLOAT", 1),
    "wav, 7.1": ("WAV", "PCM_16", 8),
    "aiff": ("AIFF", "PCM_24", 1),
    "flac": ("FLAC", "PCM_16", 1),
    "vorbis": ("OGG", "VORBIS", 1),
    "opus": ("OGG", "OPUS", 1),
    "mp3": ("MP3", "MPEG_LAYER_III", 1),
}
# Container and codec of the pictures, and of the sound ("": none).
_VIDEOS = {
    "mp4, h264": ("mp4", "libx264", "aac"),
    "mov, mpeg4": ("mov", "mpeg4", "aac"),
    "mkv, vp8": ("matroska", "libvpx", "libopus"),
    "webm, vp9": ("webm", "libvpx-vp9", ""),
    "avi, mpeg4": ("avi", "mpeg4", "mp3"),
    "mpeg-ts, mpeg2": ("mpegts", "mpeg2video", "mp2"),
    "flv": ("flv", "flv1", ""),
    "3gp, mpeg4": ("3gp", "mpeg4", "libopencore_amrnb"),
    "mp4, hevc": ("mp4", "libx265", ""),
    "mkv, av1": ("matroska", "libsvtav1", "libopus"),
}
# The least that their encoders take.
_SIZES = {"libx265": (64, 64), "libsvtav1": (64, 64)}


def part_of(kind: str, url: str) -> dict[str, Any]:
    """A content part with a file by its URL."""
    return {"type": kind, kind: {"file_data" if kind == "file" else "url": url}}


class Seed(NamedTuple):
    """A whole file: its format's name, the type and field of a content part that holds it, and its bytes."""

    name: str
    part: str
    data: bytes


def documents() -> Iterator[Seed]:
    """One of each kind; the same ones each time."""
    yield Seed("pdf, drawn", "file", pdf([words("Seven"), square(1, 0, 0)]))
    file = BytesIO()
    pictures = [Image.new("RGB", (_WIDTH, _HEIGHT), colour) for colour in ("red", "blue")]
    pictures[0].save(file, "PDF", save_all=True, append_images=pictures[1:])
    yield Seed("pdf, photographed", "file", file.getvalue())


def seeds() -> Iterator[Seed]:
    """One of each format; the same ones each time."""
    chance = np.random.default_rng(7)
    pixels = chance.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    for name, (mode, format_, options) in _IMAGES.items():
        yield Seed(name, "image_url", _image(pixels, mode, format_, options))
    yield Seed("heic", "image_url", _heic(pixels))
    for name, (format_, subtype, channels) in _SOUNDS.items():
        yield Seed(name, "audio_url", _sound(format_, subtype, channels))
    for name, (container, pictures, sound) in _VIDEOS.items():
        yield Seed(name, "video_url", _video(container, pictures, sound))


def _image(pixels: Any, mode: str, format_: str, options: dict[str, Any]) -> bytes:
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    file = BytesIO()
    (picture if mode == "I;16" else picture.convert(mode)).save(file, format_, **options)
    return file.getvalue()


def _heic(pixels: Any) -> bytes:
    file = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file)
    return file.getvalue()


def _tone() -> Any:
    return (0.4 * np.sin(np.arange(int(_SOUND_S * _RATE_HZ)) * 2 * np.pi * 440 / _RATE_HZ)).astype(np.float32)


def _sound(format_: str, subtype: str, channels: int) -> bytes:
    file = BytesIO()
    soundfile.write(file, np.stack([_tone()] * channels, axis=1), _RATE_HZ, format=format_, subtype=subtype)
    return file.getvalue()


def _video(container: str, pictures: str, sound: str) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format=container) as output:
        quiet = {"x265-params": "log-level=none"} if pictures == "libx265" else {}
        video: Any = output.add_stream(pictures, rate=25 if pictures == "mpeg2video" else _FPS, options=quiet)
        width, height = _SIZES.get(pictures, (_WIDTH, _HEIGHT))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio: Any = output.add_stream(sound, rate=_RATES_HZ.get(sound, 44_100), layout="mono") if sound else None
        for index in range(_FRAMES):
            grey = np.full((height, width, 3), 40 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, _FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode())
        if audio is not None:
            _mux_tone(output, audio)
    # SVT-AV1, run by root, has made a real-time thread of this one, whose load would leave no turn to the server.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return file.getvalue()


def _mux_tone(output: Any, stream: Any) -> None:
    frame = av.AudioFrame.from_ndarray(_tone()[None, :], format="fltp", layout="mono")
    frame.sample_rate = _RATE_HZ
    codec = stream.codec_context
    converter = av.AudioResampler(codec.format, codec.layout, codec.rate, codec.frame_size or 1024)
    for piece in [*converter.resample(frame), *converter.resample(None)]:
        output.mux(stream.encode(piece))
    output.mux(stream.encode())
