"""Icons: the largest picture counts, as a PNG or as a bitmap of any depth, whatever the directory says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import ico, image
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.pictures import encoded, png, scene


def decode(data, settings):
    return np.asarray(image.decode(data, sniff(data), settings, Deadline()))


def icon(*contents, sides=(0, 0), bits=32):
    """An icon of some PNGs and bitmaps; the directory says the same of all."""
    start = 6 + 16 * len(contents)
    entries = b""
    for content in contents:
        entries += struct.pack("<BBBBHHII", *sides, 0, 0, 1, bits, len(content), start)
        start += len(content)
    return struct.pack("<HHH", 0, 1, len(contents)) + entries + b"".join(contents)


def bitmap(pixels, mask=None, *, bits):
    """A bitmap as icons hold it: bottom up, blue first, rows of whole words, and a mask of one bit a pixel."""
    height, width = pixels.shape[:2]
    order = [2, 1, 0, 3][: bits // 8]
    rows = [row[:, order].tobytes() for row in pixels[::-1]]
    mask = np.zeros((height, width), bool) if mask is None else mask
    holes = [np.packbits(row).tobytes() for row in mask[::-1]]
    body = b"".join(row + bytes(-len(row) % 4) for row in [*rows, *holes])
    return struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, bits, 0, len(body), 0, 0, 0, 0) + body


def test_the_largest_picture_is_shown(settings):
    small, large = scene(16, 16), scene(96, 64)
    for contents in ([png(small), png(large)], [png(large), png(small)], [bitmap(small, bits=24), png(large)]):
        assert np.array_equal(decode(icon(*contents), settings), large)
    assert np.array_equal(decode(icon(png(small), bitmap(large, bits=24), bits=24), settings), large)


def test_of_one_size_the_deepest_is_shown(settings):
    grey = Image.fromarray(scene(32, 32)).convert("L").convert("RGB")
    pictures = [
        bitmap(np.asarray(grey), bits=24),
        bitmap(np.dstack([scene(32, 32), np.full((32, 32), 255, np.uint8)]), bits=32),
    ]
    for contents in (pictures, pictures[::-1]):
        assert np.array_equal(decode(icon(*contents), settings), scene(32, 32))


def test_what_pillow_writes_is_read(settings):
    picture = Image.fromarray(scene(64, 64))
    for name in ("png", "bmp"):
        data = encoded(picture, "ICO", bitmap_format=name, sizes=[(16, 16), (64, 64), (32, 32)])
        assert np.array_equal(decode(data, settings), scene(64, 64))


def test_what_is_transparent_is_white_by_alpha_or_by_mask(settings):
    pixels, hole = scene(40, 24), np.zeros((24, 40), bool)
    hole[3:9, 5:20] = True
    expected = np.where(hole[..., None], 255, pixels)
    alpha = np.dstack([pixels, np.where(hole, 0, 255).astype(np.uint8)])
    assert np.array_equal(decode(icon(bitmap(alpha, bits=32)), settings), expected)
    assert np.array_equal(decode(icon(bitmap(pixels, _padded(hole), bits=24), bits=24), settings), expected)
    # Before there was alpha, its place was filled with zeros, and the mask counted.
    bare = np.dstack([pixels, np.zeros((24, 40), np.uint8)])
    assert np.array_equal(decode(icon(bitmap(bare, _padded(hole), bits=32)), settings), expected)


def _padded(mask):
    """Rows of a mask are whole words of 32 bits."""
    return np.pad(mask, ((0, 0), (0, -mask.shape[1] % 32)))


def test_what_the_directory_says_does_not_count(settings):
    for sides in ((0, 0), (1, 1), (255, 3)):
        data = icon(png(scene(300, 200)), sides=sides, bits=1)
        assert np.array_equal(decode(data, settings), scene(300, 200))
        assert image.count_pixels(data, sniff(data), settings, Deadline()) == 300 * 200


def test_bombs_are_refused_by_the_header_of_the_picture(settings, make_settings):
    huge = struct.pack("<IiiHHIIiiII", 40, 60_000, 120_000, 1, 1, 0, 0, 0, 0, 0, 0) + bytes(100)
    large = bytearray(png(scene(8, 8)))
    large[16:24] = struct.pack(">II", 60_000, 60_000)
    for content in (huge, bytes(large)):
        for call in (decode, lambda data, settings: image.count_pixels(data, sniff(data), settings, Deadline())):
            with pytest.raises(MediaTooLarge, match="60000x60000"):
                call(icon(content), settings)
    limit = make_settings(media_max_image_pixels=96 * 64 - 1)
    with pytest.raises(MediaTooLarge, match="96x64"):
        decode(icon(png(scene(96, 64))), limit)


class Counter(Deadline):
    """Counts how often it is looked at."""

    done = 0

    def check(self):
        self.done += 1


def test_a_directory_of_65535_entries_is_looked_through_under_the_deadline(settings):
    content = png(scene(96, 64))
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(content), 6 + 16 * 65_535)
    data = struct.pack("<HHH", 0, 1, 65_535) + entry * 65_535 + content
    checks = Counter()
    image.decode(data, sniff(data), settings, checks)
    assert 65_535 < checks.done < 70_000


@pytest.mark.parametrize(
    "data",
    [
        icon(),
        icon(png(scene(16, 16)))[:22],
        icon(png(scene(16, 16)))[:-30],
        icon(b"\x89PNG\r\n\x1a\n" + bytes(60)),
        icon(bitmap(scene(16, 16), bits=24)[:200]),
        icon(struct.pack("<IiiHH", 12, 8, 16, 1, 24) + bytes(400)),
        icon(struct.pack("<IiiHH", 40, -8, 16, 1, 24) + bytes(400)),
        icon(struct.pack("<IiiHH", 40, 8, 2**31 - 1, 1, 24) + bytes(400)),
        icon(struct.pack("<IiiHH", 2**32 - 1, 8, 16, 1, 32) + bytes(400)),
    ],
    ids=range(9),
)
def test_damaged_icons_are_refused(settings, data):
    kind = sniff(icon(png(scene(16, 16))))
    with pytest.raises((InvalidMedia, MediaTooLarge)):
        image.decode(data, kind, settings, Deadline())


def test_only_what_has_pictures_counts_as_an_icon():
    assert sniff(icon(png(scene(16, 16)))).mime == "image/x-icon"
    assert sniff(b"\0\0\1\0\0\0" + bytes(100)) is None
    assert sniff(b"\0\0\2\0\1\0" + bytes(100)) is None  # a cursor


def test_the_measure_of_a_picture_is_its_own():
    picture = ico.largest(icon(bitmap(scene(300, 260), bits=24)), Deadline())
    assert (picture.width, picture.height, picture.bits, picture.is_png) == (300, 260, 24, False)
