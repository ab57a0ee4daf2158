"""Loads what decoding needs before the first upload: where files are closed, a confined process cannot."""

from __future__ import annotations

import encodings
import pkgutil
from importlib import import_module
from io import BytesIO
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

from tessera.media.decoding import DecodeJob, Page, decode, find_links, page_pixels
from tessera.media.item import MediaSpec, Modality
from tessera.media.limits import Deadline
from tessera.media.sniff import MARKDOWN, PDF, sniff
from tessera.settings import Settings

# One page, and letters in no font of its own.
_DOCUMENT = b"""%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 8 8]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>> endobj
4 0 obj <</Length 27>> stream
BT /F 8 Tf 1 1 Td (a) Tj ET
endstream endobj
5 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
trailer <</Root 1 0 R>>
%%EOF
"""
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "ICO")
# A quarter of a second, at a rate that has to be converted.
_SOUND = np.zeros(2000, np.float32)
_SOUND_RATE_HZ = 8000


# What numpy itself loads late, for medians among others.
_LATE = ("numpy.ma",)


def warm_up() -> None:
    """Decode one small file of each kind, and load the names' encodings that tags may be written in."""
    # Not the server's own: its limits may be smaller than any file.
    settings = Settings(_env_file=None)
    for name in _LATE:
        import_module(name)
    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in {"mbcs", "oem"}:  # of Windows
            import_module(f"encodings.{module.name}")
    picture = Image.new("RGB", (8, 8))
    for name in _FORMATS:
        file = BytesIO()
        picture.save(file, name)
        _decode(Modality.IMAGE, file.getvalue(), settings)
    for name, subtype in (("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        file = BytesIO()
        soundfile.write(file, _SOUND, _SOUND_RATE_HZ, format=name, subtype=subtype)
        _decode(Modality.AUDIO, file.getvalue(), settings)
    _decode(Modality.VIDEO, _clip(), settings)
    page = DecodeJob(Modality.IMAGE, PDF, _DOCUMENT, MediaSpec(), page=Page(0, 1))
    page_pixels(page, settings, Deadline())
    find_links(DecodeJob(Modality.IMAGE, MARKDOWN, b"![a](http://a/)", MediaSpec()))
    decode(page, settings, Deadline())


def _decode(modality: Modality, data: bytes, settings: Settings) -> None:
    kind = sniff(data)
    assert kind is not None, "a format that the server reads"
    with_audio = modality is Modality.VIDEO
    decode(DecodeJob(modality, kind, data, MediaSpec(), with_audio), settings, Deadline())


def _clip() -> bytes:
    """Two black pictures, and sound."""
    file = BytesIO()
    with av.open(file, "w", format="mp4") as output:
        pictures: Any = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 16
        pictures.pix_fmt = "yuv420p"
        # A thread that encodes would not be there after a fork.
        pictures.codec_context.thread_count = 1
        sound: Any = output.add_stream("aac", rate=_SOUND_RATE_HZ, layout="mono")
        for number in range(2):
            picture = av.VideoFrame(16, 16, "yuv420p")
            picture.pts = number
            output.mux(pictures.encode(picture))
        samples = av.AudioFrame.from_ndarray(_SOUND[None, :1024], format="fltp", layout="mono")
        samples.sample_rate = _SOUND_RATE_HZ
        for stream, frame in ((sound, samples), (sound, None), (pictures, None)):
            output.mux(stream.encode(frame))
    return file.getvalue()
