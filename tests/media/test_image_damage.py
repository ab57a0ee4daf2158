"""What is damaged is refused, or decoded as another decoder does it; nothing is black without a word."""

from __future__ import annotations

import io
import zlib

import av
import numpy as np
import pytest
from PIL import Image

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import image
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.pictures import chunk, encoded, png, scene, tiff

# Pillow remarks on damaged tags.
pytestmark = pytest.mark.filterwarnings("ignore")


def decode(data, settings, kind=None):
    return np.asarray(image.decode(data, kind or sniff(data), settings, Deadline()))


def ffmpeg(data):
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(container.streams.video[0])).to_ndarray(format="rgb24")


def decoded(good, settings, start=8, end=None):
    """What comes of copies with four changed bytes, as far as they are not refused, with each copy."""
    rng = np.random.default_rng(11)
    for _ in range(100):
        data = bytearray(good)
        for place in rng.integers(start, end or len(data), 4):
            data[place] ^= rng.integers(1, 256)
        try:
            yield bytes(data), decode(bytes(data), settings, sniff(good))
        except (InvalidMedia, MediaTooLarge):
            continue


def with_body(png, body):
    """The PNG with other compressed pixels and a checksum that fits them."""
    start = png.index(b"IDAT")
    size = int.from_bytes(png[start - 4 : start], "big")
    return png[: start - 4] + chunk(b"IDAT", body) + png[start + 8 + size :]


def test_damage_of_a_png_is_always_found(settings):
    for _, pixels in decoded(encoded(scene(), "PNG"), settings):
        assert np.array_equal(pixels, scene())


def test_damage_of_the_pixels_of_a_deflated_tiff_is_always_found(settings):
    good = encoded(scene(), "TIFF", compression="tiff_adobe_deflate")
    with Image.open(io.BytesIO(good)) as opened:
        (start,), (size,) = opened.tag_v2[273], opened.tag_v2[279]
    assert not list(decoded(good, settings, start, start + size))


@pytest.mark.parametrize(
    ("format", "start", "options"),
    [
        ("GIF", 800, {}),
        ("BMP", 8, {}),
        ("TIFF", 8, {}),
        ("TIFF", 8, {"compression": "tiff_lzw"}),
        ("WEBP", 8, {"lossless": True}),
    ],
    ids=["gif", "bmp", "tiff", "tiff-lzw", "webp-lossless"],
)
def test_damage_that_no_checksum_tells_gives_what_ffmpeg_makes_of_it(settings, format, start, options):
    for data, pixels in decoded(encoded(scene(), format, **options), settings, start):
        assert np.array_equal(pixels, ffmpeg(data))


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {"quality": 95}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("AVIF", {})],
    ids=["jpeg", "jpeg-progressive", "webp", "avif"],
)
def test_damage_leaves_no_row_of_a_lossy_image_unpainted(settings, format, options):
    for _, pixels in decoded(encoded(scene(), format, **options), settings):
        assert pixels.any(axis=(1, 2)).all()


def test_one_changed_bit_in_the_pixels_of_a_png_is_refused(settings):
    data = bytearray(encoded(scene(), "PNG"))
    data[data.index(b"IDAT") + 2000] ^= 1
    with pytest.raises(InvalidMedia, match="checksum of an IDAT chunk is wrong"):
        decode(bytes(data), settings)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(settings, format):
    good = encoded(scene(), format)
    for end in np.linspace(12, len(good) - 24, 30).astype(int):
        with pytest.raises(InvalidMedia):
            decode(good[:end], settings, sniff(good))


def test_a_tiff_with_missing_strips_is_refused_and_not_black_there(settings):
    pixels = scene()
    assert np.array_equal(decode(tiff(pixels, rows=16), settings), pixels)
    offsets = [8, 8 + 16 * 96 * 3]
    with pytest.raises(InvalidMedia, match="2 of its 4 parts are missing"):
        decode(tiff(pixels, rows=16, tags={273: offsets}), settings)


def test_a_later_load_does_not_hide_the_failure_of_the_first(settings):
    """Pillow forgets the failure: a second ``load``, as that of ``exif_transpose`` or its caller, succeeds."""
    exif = Image.Exif()
    exif[0x112] = 6
    good = encoded(scene(), "PNG", exif=exif)
    body = zlib.compress(bytes(1000))
    with pytest.raises(InvalidMedia):
        decode(with_body(good, body[: len(body) // 2] + bytes(range(256))), settings)
    with pytest.raises(InvalidMedia):
        decode(with_body(good, body), settings)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_damaged_exif_data_alone_leaves_the_image_as_it_is(settings, format):
    exif = Image.Exif()
    exif[0x112] = 1
    exif[0x10F] = "a camera of some make"
    exif.get_ifd(0x8769)[0x9286] = b"a comment that is longer than four bytes"
    good = encoded(scene(), format, exif=exif)
    pixels = decode(good, settings)
    rng = np.random.default_rng(4)
    start = good.index(b"a camera") if format == "TIFF" else good.index(b"MM\0*" if b"MM\0*" in good else b"II*\0")
    for _ in range(50):
        data = bytearray(good)
        for place in rng.integers(start, start + 20, 4):
            data[place] = rng.integers(256)
        if format == "PNG":  # with a checksum that fits
            name = data.index(b"eXIf")
            size = int.from_bytes(data[name - 4 : name], "big")
            data[name - 4 : name + 8 + size] = chunk(b"eXIf", bytes(data[name + 4 : name + 4 + size]))
        found = decode(bytes(data), settings, sniff(good))
        assert sorted(found.shape) == sorted(pixels.shape)
        assert np.array_equal(np.sort(found, axis=None), np.sort(pixels, axis=None))


def test_a_whole_png_is_read_whatever_else_is_in_it(settings):
    pixels = scene(12, 8)
    bomb = b"a text\0\0" + zlib.compress(bytes(80 << 20))
    profile = b"a profile\0\0" + zlib.compress(np.random.default_rng(1).bytes(3 << 20))
    wrong = bytearray(chunk(b"tIME", bytes(7)))
    wrong[-1] ^= 1
    for other in (chunk(b"zTXt", bomb), chunk(b"iCCP", profile), bytes(wrong), chunk(b"abCd", b"") * 100_000):
        assert np.array_equal(decode(png(pixels, before=other), settings), pixels)


@pytest.mark.parametrize("missing", [12, 11, 1])
def test_a_png_that_ends_behind_its_pixels_is_whole(settings, missing):
    assert np.array_equal(decode(encoded(scene(), "PNG")[:-missing], settings), scene())


def test_a_png_without_its_header_first_is_refused(settings):
    data = png(scene(4, 4))
    with pytest.raises(InvalidMedia, match="does not begin with its header"):
        decode(data[:8] + chunk(b"tEXt", b"a\0b") + data[8:], settings)
