"""HEIC, as phones take their photographs; made by another library than the one that reads them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import DecodeJob, MediaSpec, Modality, SandboxDecoder, image
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff

# Left half red, right half blue, the upper quarter green.
PICTURE = np.zeros((64, 96, 3), np.uint8)
PICTURE[:, :48, 0] = PICTURE[:, 48:, 2] = 200
PICTURE[:16] = (0, 200, 0)


def heic(pixels=PICTURE, mode="RGB", **options):
    file = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels, mode)).save(file, quality=100, chroma=444, **options)
    return file.getvalue()


def decode(data, settings):
    return np.asarray(image.decode(data, sniff(data), settings, Deadline()))


def test_the_pixels_are_those_that_were_encoded(settings):
    data = heic()
    assert sniff(data).mime == "image/heic"
    decoded = decode(data, settings)
    assert decoded.shape == PICTURE.shape
    # Rounded on the way through YCbCr; at edges of colour a little more.
    assert np.abs(decoded.astype(int) - PICTURE).mean() < 2


def test_it_is_upright_as_its_exif_data_says(settings):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    decoded = decode(heic(exif=exif.tobytes()), settings)
    assert decoded.shape == (96, 64, 3)
    assert np.abs(decoded.astype(int) - np.rot90(PICTURE, -1)).mean() < 2


def test_what_is_transparent_is_white(settings):
    pixels = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    pixels[32:, :, 3] = 0
    decoded = decode(heic(pixels, "RGBA"), settings)
    assert (decoded[40:] > 250).all()
    assert np.abs(decoded[:24].astype(int) - PICTURE[:24]).mean() < 2


def test_limits_and_damage(settings, make_settings):
    data = heic()
    with pytest.raises(MediaTooLarge, match="96x64 pixels; at most 100"):
        decode(data, make_settings(media_max_image_pixels=100))
    for damaged in (data[: len(data) // 2], data[:100] + bytes(200) + data[300:]):
        with pytest.raises(InvalidMedia):
            decode(damaged, settings)


async def test_it_is_read_in_a_confined_process(settings):
    data = heic()
    decoder = SandboxDecoder(settings)
    try:
        job = DecodeJob(Modality.IMAGE, sniff(data), data, MediaSpec())
        assert await decoder.measure(job) > 96 * 64
        [decoded] = await decoder.decode(job)
    finally:
        await decoder.aclose()
    assert decoded.item.shape == PICTURE.shape
