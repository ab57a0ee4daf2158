"""Values of every depth come out scaled, and what is transparent comes out white."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from tessera.errors import InvalidMedia
from tessera.media import image
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.pictures import encoded, png, tiff

RNG = np.random.default_rng(9)
DEEP = RNG.integers(0, 65536, (16, 24))
DEEP[0, :4] = 0, 128, 129, 65535


def decode(data, settings):
    return np.asarray(image.decode(data, sniff(data), settings, Deadline()))


def grey(data, settings):
    pixels = decode(data, settings)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def by_specification(values, most):
    """Section 13.12 of the PNG specification."""
    return np.floor(np.asarray(values, np.float64) * 255 / most + 0.5).astype(np.uint8)


def ffmpeg(data):
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(container.streams.video[0])).to_ndarray(format="rgba").astype(int)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_every_depth_is_scaled_to_8_bits(settings, depth):
    values = RNG.integers(0, 2**depth, (9, 13))
    assert np.array_equal(grey(png(values, depth=depth), settings), by_specification(values, 2**depth - 1))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_of_16_bits_is_within_a_level_of_the_scaled_one(settings, channels):
    values = RNG.integers(0, 65536, (9, 13, channels))
    if channels != 3:
        values[..., -1] = 65535
    expected = by_specification(values, 65535)[..., : channels if channels == 3 else channels - 1]
    assert np.abs(decode(png(values, depth=16), settings).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white(settings, depth):
    values = RNG.integers(0, 2**depth, (9, 13))
    hidden = values[1, 2]
    data = png(values, depth=depth, transparent=(hidden,))
    expected = np.where(values == hidden, 255, by_specification(values, 2**depth - 1))
    assert np.array_equal(grey(data, settings), expected)
    if depth >= 8:  # FFmpeg overlooks it below
        assert ((ffmpeg(data)[..., 3] == 0) == (values == hidden)).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_white_and_not_what_it_hides(settings, depth):
    values = RNG.integers(0, 2**depth, (9, 13, 3))
    values[3:5, 2:9] = values[0, 0]
    data = png(values, depth=depth, transparent=tuple(values[0, 0]))
    hidden = ffmpeg(data)[..., 3] == 0
    assert hidden.sum() == 15
    pixels = decode(data, settings)
    assert (pixels[hidden] == 255).all()
    assert np.array_equal(pixels[~hidden], decode(png(values, depth=depth), settings)[~hidden])


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_16_bits_is_scaled(settings, order):
    assert np.array_equal(grey(tiff(DEEP.astype(order + "u2")), settings), by_specification(DEEP, 65535))


def test_a_compressed_tiff_of_16_bits_is_scaled(settings):
    data = encoded(DEEP.astype(np.uint16), "TIFF", compression="tiff_lzw")
    assert np.array_equal(grey(data, settings), by_specification(DEEP, 65535))


def test_a_tiff_whose_zero_is_white_is_turned_round(settings):
    assert np.array_equal(
        grey(tiff(DEEP.astype("<u2"), tags={262: [0]}), settings), 255 - by_specification(DEEP, 65535)
    )


@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [
        (0, 255, 0, 255),
        (3, 200, 0, 255),
        (0, 65535, 0, 65535),
        (300, 40_000, 0, 65535),
        (0, 4_000_000_000, 0, 4_000_000_000),
        (70_000, 90_000, 70_000, 90_000),
    ],
)
def test_whole_numbers_of_32_bits_are_taken_in_the_first_range_that_holds_them(settings, low, high, black, white):
    values = RNG.integers(low, high + 1, (9, 13))
    values[0, :2] = low, high
    expected = by_specification(values - black, white - black)
    assert np.array_equal(grey(tiff(values.astype("<u4")), settings), expected)


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<i4", ">i4"])
def test_negative_numbers_are_shown_from_the_least_to_the_largest(settings, kind):
    values = RNG.integers(-900, 1200, (9, 13))
    expected = by_specification(values - values.min(), int(np.ptp(values)))
    assert np.array_equal(grey(tiff(values.astype(kind)), settings), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [(0, 1, 0, 1), (0.2, 0.6, 0, 1), (0, 255, 0, 255), (0, 65535, 0, 65535), (-2, 3, -2, 3), (1e30, 3e38, 1e30, 3e38)],
)
def test_floating_point_is_taken_in_the_first_range_that_holds_it(settings, order, low, high, black, white):
    values = RNG.uniform(low, high, (9, 13)).astype(np.float32)
    values[0, :2] = low, high
    share = (values.astype(np.float64) - np.float32(black)) / (float(np.float32(white)) - float(np.float32(black)))
    assert np.array_equal(grey(tiff(values.astype(order + "f4")), settings), by_specification(share, 1))


def test_what_is_not_a_number_is_black_and_infinity_is_white(settings):
    values = np.full((4, 6), 0.5, np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = grey(tiff(values), settings)
    assert pixels[0].tolist() == [0, 255, 0, 128, 128, 128]
    with pytest.raises(InvalidMedia, match="None of the image's pixels is a number"):
        decode(tiff(np.full((4, 6), np.nan, np.float32)), settings)


def test_deep_images_are_turned_upright_too(settings):
    values = RNG.integers(0, 65536, (9, 13)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x112] = 6
    expected = np.rot90(by_specification(values, 65535), -1)
    assert np.array_equal(grey(encoded(values, "PNG", exif=exif), settings), expected)
    assert np.array_equal(grey(tiff(values, tags={274: [6]}), settings), expected)


def test_one_colour_comes_out_alike_from_every_colour_space(settings):
    flat = np.full((8, 8, 3), (200, 120, 40), np.uint8)
    for mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LAB"):
        pixels = Image.fromarray(flat)
        if mode == "LAB":  # for D50, by the formulas of CIE and of sRGB
            data = encoded(Image.frombytes("LAB", (8, 8), bytes((149, 28, 55)) * 64), "TIFF")
        else:
            data = encoded(pixels.convert(mode), "TIFF")
        found = decode(data, settings)
        assert found.shape == (8, 8, 3)
        assert np.abs(found.astype(int) - flat).max() <= 4, mode


def test_a_palette_with_alpha_is_laid_over_white(settings):
    colours = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (9, 9, 9)], np.uint8)
    index = RNG.integers(0, 4, (6, 7)).astype(np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette(colours.tobytes())
    alpha = np.array([255, 0, 128, 64])
    share = alpha[index][..., None] / 255
    expected = colours[index] * share + 255 * (1 - share)
    pixels = decode(encoded(picture, "PNG", transparency=bytes(alpha.tolist())), settings)
    assert np.abs(pixels - expected).max() <= 1
