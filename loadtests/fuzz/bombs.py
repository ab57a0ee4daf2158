"""Small files that ask for much: memory, time, or both."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any, NamedTuple

import av
import numpy as np
import soundfile
from PIL import Image

from loadtests.fuzz.pdf import pdf, square

_GIB = 1 << 30
_DEFLATED = b"/Filter/FlateDecode"


class Bomb(NamedTuple):
    """What it is, the type and field of a content part that holds it, and its bytes."""

    name: str
    part: str
    data: bytes


def bombs(*, quick: bool = False) -> Iterator[Bomb]:
    """One of each kind; ``quick``: without those that take seconds to make."""
    yield Bomb("png, 900 megapixels", "image_url", _png(30_000, 30_000))
    yield Bomb("png, as large as allowed", "image_url", _png(6_300, 6_300))
    yield Bomb("png, 100,000 chunks", "image_url", _png(8, 8, *[(b"tEXt", b"a\0b")] * 100_000))
    yield Bomb("gif, 4,295 megapixels", "image_url", _patched(_encoded("GIF"), 6, struct.pack("<HH", 65535, 65535)))
    yield Bomb("ico, 900 megapixels", "image_url", _icon(_png(30_000, 30_000)))
    yield Bomb("bmp, 2^62 pixels", "image_url", _patched(_encoded("BMP"), 18, struct.pack("<ii", 2**31 - 1, 2**31 - 1)))
    yield Bomb("avif, 4,295 megapixels", "image_url", _forged_avif())
    yield Bomb("jpeg, 4,295 megapixels", "image_url", _forged_jpeg())
    yield Bomb("jpeg, 20,000 scans of 25 megapixels", "image_url", _jpeg_of_scans(20_000))
    yield Bomb("wav, 4 GiB by its header", "audio_url", _forged_wav())
    yield Bomb("mkv, 2 hours by its times", "video_url", _video("matroska", "mpeg4", 3, 16, 16, apart_s=3600))
    yield Bomb("pdf, a page of 10^18 points", "file", pdf([square(1, 0, 0)], box=(0, 0, 1e9, 1e9)))
    yield Bomb("pdf, 50,000 pages", "file", pdf([b""] * 50_000))
    yield Bomb("pdf, a million squares", "file", pdf([_deflated(b"0 0 9 9 re f " * 10**6)], stream=_DEFLATED))
    if quick:
        return
    zeros = _zeros(_GIB)
    yield Bomb("pdf, a content of 1 GiB", "file", pdf([zeros], stream=_DEFLATED))
    picture = b"<</Type/XObject/Subtype/Image/Width 30000/Height 30000/BitsPerComponent 8/ColorSpace/DeviceGray"
    stream = b"%b/Length %d%b>>stream\n%b\nendstream" % (picture, len(zeros), _DEFLATED, zeros)
    yield Bomb("pdf, a picture of 900 megapixels", "file", pdf([b"200 0 0 100 0 0 cm /X Do"], more=[stream]))
    form = (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 4 0 R>>>>/Length 18>>stream\n%b\nendstream"
    )
    yield Bomb("pdf, a form that holds itself", "file", pdf([b"/X Do"], more=[form % (b"/X Do /X Do /X Do ")]))
    yield Bomb("png, colour profile of 1 GiB", "image_url", _png(8, 8, (b"iCCP", b"x\0\0" + zeros)))
    yield Bomb("png, text of 1 GiB", "image_url", _png(8, 8, (b"zTXt", b"Comment\0\0" + zeros)))
    yield Bomb("webp, 268 megapixels", "image_url", _flat("WEBP", 16_383, 16_383, lossless=True, method=0))
    yield Bomb("tiff, 400 megapixels", "image_url", _flat("TIFF", 20_000, 20_000, compression="tiff_adobe_deflate"))
    yield Bomb("flac, 3 hours of silence", "audio_url", _silence("FLAC", "PCM_16", 3 * 3600))
    yield Bomb("opus, 70 minutes of silence", "audio_url", _silence("OGG", "OPUS", 70 * 60))
    yield Bomb("mp4, a frame of 64 megapixels", "video_url", _video("mp4", "mpeg4", 1, 8_000, 8_000))
    yield Bomb("mp4, 200,000 frames", "video_url", _video("mp4", "mpeg4", 200_000, 16, 16))


def _zeros(size: int) -> bytes:
    """Zeros, deflated: a thousandth of it."""
    deflate, block = zlib.compressobj(9), bytes(1 << 24)
    return b"".join([*(deflate.compress(block) for _ in range(size >> 24)), deflate.flush()])


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data, 9)


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Black, of one bit a pixel."""
    row = bytes(1 + (width + 7) // 8)
    deflate = zlib.compressobj(9)
    pixels = b"".join([*(deflate.compress(row) for _ in range(height)), deflate.flush()])
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _icon(content: bytes) -> bytes:
    """Of one picture, which its directory says is small."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def _encoded(name: str, size: int = 16, **options: Any) -> bytes:
    return _flat(name, size, size, **options)


def _flat(name: str, width: int, height: int, **options: Any) -> bytes:
    file = BytesIO()
    Image.new("L" if name == "TIFF" else "RGB", (width, height)).save(file, name, **options)
    return file.getvalue()


def _patched(data: bytes, place: int, content: bytes) -> bytes:
    return data[:place] + content + data[place + len(content) :]


def _forged_avif() -> bytes:
    data = _encoded("AVIF", 64)
    place = data.index(b"ispe") + 8
    return _patched(data, place, struct.pack(">II", 65_535, 65_535))


def _forged_jpeg() -> bytes:
    data = _encoded("JPEG")
    return _patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", 65_535, 65_535))


def _jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG that goes over all pixels again and again, and changes none of them."""
    data = _flat("JPEG", 5_000, 5_000, progressive=True)
    last = data.rindex(b"\xff\xda")
    refinement = data[last:-2]
    return data[:-2] + refinement[:64] * scans + b"\xff\xd9"


def _silence(name: str, subtype: str, seconds: int, rate_hz: int = 8_000) -> bytes:
    file, block = BytesIO(), np.zeros(60 * rate_hz, np.float32)
    with soundfile.SoundFile(file, "w", rate_hz, 1, format=name, subtype=subtype) as output:
        for _ in range(seconds // 60):
            output.write(block)
    return file.getvalue()


def _forged_wav() -> bytes:
    data = _silence("WAV", "PCM_16", 60)[:1000]
    place = data.index(b"data") + 4
    return _patched(_patched(data, place, b"\xff\xff\xff\xff"), 4, b"\xff\xff\xff\xff")


def _video(container: str, codec: str, frames: int, width: int, height: int, *, apart_s: int = 0) -> bytes:
    """Black; after the first frame only what says that nothing has changed."""
    file = BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=100)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 600
        picture = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24").reformat(
            format="yuv420p"
        )
        for number in range(frames):
            picture.pts = number * (apart_s * 100 or 1)
            picture.time_base = Fraction(1, 100)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return file.getvalue()
