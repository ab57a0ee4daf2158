"""The inventory: every format that the documentation names comes out of a confined process as it went in."""

from __future__ import annotations

import base64
import io
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image

from tessera.media import DecodeJob, MediaSpec, Modality, SandboxDecoder, frame_list, unpack
from tessera.media.sniff import identify
from tests.media.clips import clip, number, numbered
from tests.media.pictures import encoded
from tests.media.sounds import encode, heard, mp3, steps, write

SPEC = MediaSpec(video_max_frames=16)
FRAMES, SECONDS = 12, 4


def smooth(width=96, height=64):
    """A picture that survives every codec: soft, and of every colour."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 31 + y / 47), np.cos(x / 41 - y / 37), np.sin((x + y) / 53)]
    return np.clip(128 + 90 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def image(mode, format, **options):
    picture = Image.fromarray(smooth())
    return encoded(picture.quantize(256) if mode == "P" else picture.convert(mode), format, **options)


def heic(*, deep=False):
    file = io.BytesIO()
    if deep:
        picture = pillow_heif.from_bytes("RGB;16", (96, 64), (smooth().astype(np.uint16) * 257).tobytes())
        picture.save(file, quality=95, chroma=444, save_to_12bit=False)
    else:
        pillow_heif.from_pillow(Image.fromarray(smooth())).save(file, quality=95, chroma=444)
    return file.getvalue()


def deep_avif():
    """10 bits, by another encoder than Pillow's."""
    file = io.BytesIO()
    with av.open(file, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1, options={"crf": "10", "svtav1-params": "avif=1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(smooth(), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def deep_png():
    with av.open(file := io.BytesIO(), "w", format="image2pipe") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb48be"
        picture = av.VideoFrame.from_ndarray(smooth().astype(np.uint16) * 257, format="rgb48le")
        container.mux(stream.encode(picture.reformat(format="rgb48be")))
        container.mux(stream.encode())
    return file.getvalue()


# How it is made, and how far a value may be from the original on average.
IMAGES = {
    "jpeg": (partial(image, "RGB", "JPEG", quality=95), 2),
    "jpeg, progressive": (partial(image, "RGB", "JPEG", quality=95, progressive=True), 2),
    "jpeg, cmyk": (partial(image, "CMYK", "JPEG", quality=95), 2),
    "jpeg, mpo": (
        lambda: encoded(
            Image.fromarray(smooth()),
            "MPO",
            save_all=True,
            quality=95,
            append_images=[Image.fromarray(255 - smooth())],
        ),
        2,
    ),
    "png": (partial(image, "RGB", "PNG"), 0),
    "png, alpha": (partial(image, "RGBA", "PNG"), 0),
    "png, palette": (partial(image, "P", "PNG"), 5),
    "png, 16 bit": (deep_png, 0.5),
    "webp": (partial(image, "RGB", "WEBP", quality=95), 3),
    "webp, lossless": (partial(image, "RGB", "WEBP", lossless=True), 0),
    "gif": (partial(image, "P", "GIF"), 5),
    "bmp": (partial(image, "RGB", "BMP"), 0),
    "tiff": (partial(image, "RGB", "TIFF"), 0),
    "tiff, lzw": (partial(image, "RGB", "TIFF", compression="tiff_lzw"), 0),
    "tiff, deflate": (partial(image, "RGB", "TIFF", compression="tiff_adobe_deflate"), 0),
    "tiff, packbits": (partial(image, "RGB", "TIFF", compression="packbits"), 0),
    "tiff, jpeg": (partial(image, "RGB", "TIFF", compression="jpeg", quality=95), 2),
    "tiff, cmyk": (partial(image, "CMYK", "TIFF"), 1),
    "avif": (partial(image, "RGB", "AVIF", quality=95), 3),
    "avif, 10 bit": (deep_avif, 3),
    "heic": (heic, 3),
    "heic, 10 bit": (partial(heic, deep=True), 3),
    "ico": (partial(image, "RGB", "ICO", sizes=[(64, 64), (96, 64)]), 0),
    "ico, bitmap": (partial(image, "RGBA", "ICO", sizes=[(96, 64)], bitmap_format="bmp"), 0),
}

QUIET = {"x265-params": "log-level=none"}
DEEP = {"pixel_format": "yuv420p10le"}
VIDEOS = {
    "mp4, h264": {},
    "mp4, h264, 10 bit": DEEP,
    "mp4, hevc": {"codec": "libx265", "encoder": QUIET},
    "mp4, hevc, 10 bit": {"codec": "libx265", "encoder": QUIET, **DEEP},
    "mp4, av1": {"codec": "libsvtav1", "encoder": {"preset": 12}},
    "mp4, av1, 10 bit": {"codec": "libsvtav1", "encoder": {"preset": 12}, **DEEP},
    "mp4, mpeg4": {"codec": "mpeg4"},
    "mp4, vp9": {"codec": "libvpx-vp9"},
    "webm, vp8": {"format": "webm", "codec": "libvpx"},
    "webm, vp9": {"format": "webm", "codec": "libvpx-vp9"},
    "webm, av1": {"format": "webm", "codec": "libsvtav1", "encoder": {"preset": 12}},
    "mkv, h264": {"format": "matroska"},
    "mkv, hevc, 10 bit": {"format": "matroska", "codec": "libx265", "encoder": QUIET, **DEEP},
    "mkv, av1": {"format": "matroska", "codec": "libsvtav1", "encoder": {"preset": 12}},
    "mov, h264": {"format": "mov"},
    "mov, hevc": {"format": "mov", "codec": "libx265", "encoder": QUIET},
    "avi, mpeg4": {"format": "avi", "codec": "mpeg4"},
    "avi, h264": {"format": "avi", "encoder": {"bf": 0}},
    "mpeg-ts, h264": {"format": "mpegts"},
    "mpeg-ts, hevc": {"format": "mpegts", "codec": "libx265", "encoder": QUIET},
    "mpeg-ts, mpeg2": {"format": "mpegts", "codec": "mpeg2video"},
    "3gp, h264": {"format": "3gp"},
    "3gp, mpeg4": {"format": "3gp", "codec": "mpeg4"},
}


def tone(rate):
    return steps(SECONDS, rate)


# For which no encoder is installed, made once of `numbered` and `steps` by Debian's: `vpxenc --codec=vp9 --profile=2
# --bit-depth=10` (vpx-tools 1.12; remuxed by PyAV), and `E_IF_encode` in mode 2, 12.65 kbit/s (libvo-amrwbenc 0.1.3).
SAMPLES = Path(__file__).parents[1] / "samples"


SOUNDS = {
    **{
        f"wav, {subtype}": partial(write, tone(44100), 44100, "WAV", subtype)
        for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    },
    "wav, IMA_ADPCM": partial(write, tone(44100), 44100, "WAV", "IMA_ADPCM"),
    "wav, MS_ADPCM": partial(write, tone(44100), 44100, "WAV", "MS_ADPCM"),
    "wav, GSM610": partial(write, tone(8000), 8000, "WAV", "GSM610"),
    "wav, extensible": partial(write, tone(44100), 44100, "WAVEX", "PCM_24"),
    "wav, RF64": partial(write, tone(44100), 44100, "RF64", "PCM_16"),
    "mp3": partial(mp3, tone(44100)),
    "flac": partial(write, tone(44100), 44100, "FLAC", "PCM_16"),
    "flac, 24 bit": partial(write, tone(48000), 48000, "FLAC", "PCM_24"),
    "ogg, vorbis": partial(write, tone(44100), 44100, "OGG", "VORBIS"),
    "ogg, opus": partial(encode, tone(48000), 48000, "ogg", "libopus"),
    "webm, opus": partial(encode, tone(48000), 48000, "webm", "libopus"),
    "aac": partial(encode, tone(44100), 44100, "adts", "aac"),
    "m4a": partial(encode, tone(44100), 44100, "ipod", "aac"),
    "amr": partial(encode, tone(8000), 8000, "amr", "libopencore_amrnb"),
    "3gp, amr": partial(encode, tone(8000), 8000, "3gp", "libopencore_amrnb"),
    "amr, wide band": (SAMPLES / "steps.awb").read_bytes,
}


@asynccontextmanager
async def opened(settings):
    decoder = SandboxDecoder(settings)
    await decoder.start()
    try:
        yield decoder
    finally:
        await decoder.aclose()


async def decoded(decoder, modality, data, kind=None):
    """Array and metadata of what a confined process makes of a file."""
    job = DecodeJob(modality, kind or identify(data, modality, None), data, SPEC)
    await decoder.measure(job)
    [item] = await decoder.decode(job)
    header, array = unpack(item.payload)
    return array, header.metadata


async def check_video(decoder, name, data):
    frames, metadata = await decoded(decoder, Modality.VIDEO, data)
    assert [number(frame) for frame in frames] == list(range(FRAMES)), name
    assert metadata["fps"] == 25, name


async def test_images(settings):
    async with opened(settings) as decoder:
        for name, (make, tolerance) in IMAGES.items():
            pixels, _ = await decoded(decoder, Modality.IMAGE, make())
            assert pixels.shape == (64, 96, 3), name
            assert np.abs(pixels.astype(int) - smooth()).mean() <= tolerance, name


async def test_videos(settings):
    async with opened(settings) as decoder:
        for name, options in VIDEOS.items():
            await check_video(decoder, name, clip(FRAMES, **options))
        deep = (SAMPLES / "vp9-10bit.webm").read_bytes()
        with av.open(io.BytesIO(deep)) as container:
            assert next(container.decode(video=0)).format.name == "yuv420p10le"
        await check_video(decoder, "webm, vp9, 10 bit", deep)


async def test_sounds(settings):
    async with opened(settings) as decoder:
        for name, make in SOUNDS.items():
            samples, _ = await decoded(decoder, Modality.AUDIO, make())
            assert abs(len(samples) / 16000 - SECONDS) < 0.15, name
            assert heard(samples) == list(range(SECONDS)), name
            assert 0.2 < np.abs(samples).max() < 0.8, name


async def test_lists_of_images_as_a_video(settings):
    async with opened(settings) as decoder:
        for name in ("JPEG", "PNG", "WEBP"):
            listed = (encoded(numbered(index), name) for index in range(FRAMES))
            text = ",".join(base64.b64encode(file).decode() for file in listed)
            data = frame_list.read(text, SPEC, settings.media_max_bytes)
            frames, metadata = await decoded(decoder, Modality.VIDEO, data, frame_list.KIND)
            assert [number(frame) for frame in frames] == list(range(FRAMES)), name
            assert metadata["fps"] == 1
