"""Loads what decoding needs before the first upload: a confined process may not be able to."""

from __future__ import annotations

import encodings
import pkgutil
from importlib import import_module
from io import BytesIO

import numpy as np
import soundfile
from PIL import Image

from tessera.media.decoding import DecodeJob, decode
from tessera.media.item import MediaSpec, Modality
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tessera.settings import Settings

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
# A quarter of a second, at a rate that has to be converted.
_SOUND = np.zeros(2000, np.float32)
_SOUND_RATE_HZ = 8000


def warm_up(settings: Settings) -> None:
    """Decode one small file of each kind, and load the names' encodings that tags may be written in."""
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


def _decode(modality: Modality, data: bytes, settings: Settings) -> None:
    kind = sniff(data)
    assert kind is not None, "a format that the server reads"
    decode(DecodeJob(modality, kind, data, MediaSpec()), settings, Deadline())
