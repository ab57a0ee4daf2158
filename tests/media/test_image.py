from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import image
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff


def decode(data, settings):
    return np.asarray(image.decode(data, sniff(data), settings, Deadline()))


def png(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def bomb(width, height):
    """A PNG of a few bytes whose header promises width x height pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_lossless_rgb_comes_out_as_it_was(samples, settings):
    pixels = samples.pixels()
    assert np.array_equal(decode(png(Image.fromarray(pixels)), settings), pixels)


@pytest.mark.parametrize("format", ["JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_every_format_decodes(samples, settings, format):
    pixels = decode(samples.image(format), settings)
    assert pixels.shape == (32, 48, 3)
    assert pixels.dtype == np.uint8


def test_transparency_is_laid_over_white(samples, settings):
    rgba = samples.pixels(channels=4)
    rgba[..., 3] = 0
    assert (decode(png(Image.fromarray(rgba)), settings) == 255).all()
    palette = Image.fromarray(samples.pixels()).quantize(8)
    index = np.asarray(palette) == 3
    assert (decode(png(palette, transparency=3), settings)[index] == 255).all()


def test_cmyk_and_grey_become_rgb(samples, settings):
    assert decode(samples.image("JPEG", mode="CMYK"), settings).shape == (32, 48, 3)
    grey = decode(samples.image("PNG", mode="L"), settings)
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_exif_orientation_is_applied(samples, settings):
    exif = Image.Exif()
    exif[0x112] = 6
    assert decode(samples.image("JPEG", exif=exif), settings).shape == (48, 32, 3)


def test_animations_give_their_first_frame(settings):
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    for name in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        first.save(buffer, name, save_all=True, append_images=[second], duration=100)
        pixels = decode(buffer.getvalue(), settings)
        assert pixels[0, 0, 0] > 200
        assert pixels[0, 0, 2] < 50


def test_the_pixel_limit_is_exact(samples, make_settings):
    data = samples.image("PNG", width=10, height=10)
    assert decode(data, make_settings(media_max_image_pixels=100)).shape == (10, 10, 3)
    with pytest.raises(MediaTooLarge, match="10x10"):
        decode(data, make_settings(media_max_image_pixels=99))


@pytest.mark.parametrize("size", [(7000, 7000), (10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_by_their_header(settings, size):
    data = bomb(*size)
    for call in (image.decode, image.count_pixels):
        with pytest.raises(MediaTooLarge):
            call(data, sniff(data), settings, Deadline())


def test_pixels_are_counted_without_decoding(samples, settings):
    data = samples.image("PNG")[:100]
    assert image.count_pixels(data, sniff(data), settings, Deadline()) == 32 * 48


def test_cut_short_images_are_refused(samples, settings):
    for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = samples.image(name)
        with pytest.raises(InvalidMedia):
            decode(data[: len(data) // 2], settings)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_damaged_images_raise_nothing_else(samples, settings, format):
    good = samples.image(format, width=16, height=16)
    rng = np.random.default_rng(2)
    for _ in range(100):
        data = bytearray(good)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(8, len(data))] = rng.integers(256)
        kind = sniff(good)
        try:
            pixels = np.asarray(image.decode(bytes(data), kind, settings, Deadline()))
        except (InvalidMedia, MediaTooLarge):
            continue
        assert pixels.ndim == 3
