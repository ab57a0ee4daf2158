"""PNG files as they are handed to the decoder: with their pixels inflated, and otherwise the same."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tessera.errors import MediaDecodeFailed
from tessera.media import image, png, png_lines
from tessera.media.item import Modality
from tessera.media.limits import Deadline
from tessera.media.sniff import Kind
from tests.media.pictures import chunk, encoded, scene
from tests.media.pictures import png as write

# Of zlib's format: the kind of the first block, which is of bytes as they are.
_STORED = (0, 1)


def chunks(data):
    """Name and content of each."""
    place, found = 8, []
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        assert zlib.crc32(data[place + 4 : place + 8 + size]).to_bytes(4, "big") == data[place + 8 + size :][:4]
        place += size + 12
    return found


def body(data):
    return b"".join(content for name, content in chunks(data) if name == b"IDAT")


def is_inflated(data):
    reduced = body(png.reduce(data, Deadline()).file())
    return reduced[2] in _STORED and zlib.decompress(reduced) == zlib.decompress(body(data))


def with_bodies(data, *bodies, between=b""):
    """The PNG with these pixels, in as many chunks."""
    start = data.index(b"IDAT") - 4
    end = data.index(b"IEND") - 4
    return data[:start] + between.join(chunk(b"IDAT", each) for each in bodies) + data[end:]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (61, 43), (500, 300)])
def test_the_pixels_are_inflated_whatever_they_are(mode, size):
    picture = Image.fromarray(scene(*size)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture, np.uint16) * 257)
    data = encoded(picture, "PNG")
    assert is_inflated(data)
    with Image.open(io.BytesIO(png.reduce(data, Deadline()).file())) as reduced, Image.open(io.BytesIO(data)) as whole:
        assert reduced.mode == whole.mode
        assert reduced.tobytes() == whole.tobytes()


@pytest.mark.parametrize("between", [b"", chunk(b"tEXt", b"Comment\0x")], ids=["in a row", "with a text between"])
def test_pixels_in_several_chunks_are_inflated(between):
    data = encoded(scene(), "PNG")
    whole = body(data)
    assert is_inflated(with_bodies(data, whole[:5], whole[5:50], b"", whole[50:], between=between))


class TestWhatIsNotInflatedGoesOnAsItIs:
    """And is refused, or read, as the decoder does it."""

    def unchanged(self, data):
        assert body(png.reduce(data, Deadline()).file()) == body(data)

    def test_a_stream_whose_sum_is_wrong(self):
        data = encoded(scene(), "PNG")
        self.unchanged(with_bodies(data, body(data)[:-4] + b"\0\0\0\0"))

    def test_a_stream_that_ends_too_early(self):
        data = encoded(scene(), "PNG")
        self.unchanged(with_bodies(data, body(data)[:-50]))

    @pytest.mark.parametrize("more", [-1, 1, 100_000])
    def test_lines_that_are_fewer_or_more_than_the_picture_has(self, more):
        data = encoded(scene(), "PNG")
        lines = zlib.decompress(body(data))
        self.unchanged(with_bodies(data, zlib.compress(lines[:more] if more < 0 else lines + bytes(more))))

    def test_pixels_that_something_stands_between(self):
        data = encoded(scene(), "PNG")
        whole = body(data)
        self.unchanged(with_bodies(data, whole[:50], whole[50:], between=chunk(b"tRNS", bytes(6))))

    def test_lines_in_another_order(self):
        data = bytearray(encoded(scene(), "PNG"))
        data[28] = 1
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        self.unchanged(bytes(data))

    def test_no_pixels(self):
        data = encoded(scene(), "PNG")
        reduced = png.reduce(with_bodies(data), Deadline()).file()
        assert [name for name, _ in chunks(reduced)] == [b"IHDR", b"IEND"]

    def test_a_picture_above_the_limit(self, monkeypatch):
        data = encoded(scene(), "PNG")
        nbytes = len(zlib.decompress(body(data)))
        monkeypatch.setattr(png_lines, "MOST_BYTES", nbytes - 1)
        self.unchanged(data)
        monkeypatch.setattr(png_lines, "MOST_BYTES", nbytes)
        assert is_inflated(data)


class TestAPictureOfNothingButPixels:
    """It is decoded without a look for more; every other one is left to Pillow."""

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
    @pytest.mark.parametrize("size", [(1, 1), (7, 3), (61, 43), (500, 300)])
    def test_it_is_as_pillow_reads_it(self, mode, size):
        data = encoded(Image.fromarray(scene(*size)).convert(mode), "PNG")
        whole = body(data)
        for each in (data, with_bodies(data, whole[:9], whole[9:], between=chunk(b"tEXt", b"Comment\0x"))):
            picture = png.reduce(each, Deadline()).picture()
            with Image.open(io.BytesIO(data)) as expected:
                assert (picture.mode, picture.size) == (mode, size)
                assert picture.tobytes() == expected.tobytes()

    @pytest.mark.parametrize("mode", ["1", "P", "I;16"])
    def test_other_pixels(self, mode):
        picture = Image.fromarray(np.zeros((3, 5), np.uint16)) if mode == "I;16" else Image.new(mode, (5, 3))
        assert png.reduce(encoded(picture, "PNG"), Deadline()).picture() is None

    @pytest.mark.parametrize(
        "told",
        [
            chunk(b"tRNS", bytes(6)),
            chunk(b"PLTE", bytes(3)),
            chunk(b"eXIf", b"II*\0"),
            chunk(b"iCCP", b"x\0\0" + zlib.compress(b"x")),
            chunk(b"cICP", bytes([9, 16, 0, 1])),
        ],
        ids=lambda told: told[4:8].decode(),
    )
    def test_something_is_told_of_them(self, told):
        data = encoded(scene(), "PNG")
        start = data.index(b"IDAT") - 4
        assert png.reduce(data[:start] + told + data[start:], Deadline()).picture() is None

    @pytest.mark.parametrize("place", [26, 27, 28], ids=["compression", "filter", "order"])
    def test_another_way_than_the_standards(self, place):
        data = bytearray(encoded(scene(), "PNG"))
        data[place] = 1
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        assert png.reduce(bytes(data), Deadline()).picture() is None

    def test_damaged_pixels(self):
        data = encoded(scene(), "PNG")
        assert png.reduce(with_bodies(data, body(data)[:-50]), Deadline()).picture() is None

    def test_a_filter_that_there_is_not(self, settings):
        data = encoded(scene(), "PNG")
        wrong = with_bodies(data, zlib.compress(b"\x05" + zlib.decompress(body(data))[1:]))
        with pytest.raises(MediaDecodeFailed):
            image.decode(wrong, Kind(Modality.IMAGE, "image/png"), settings, Deadline())


@pytest.mark.parametrize(("depth", "colour"), [(8, 1), (8, 5), (8, 255), (0, 2)])
def test_there_are_no_lines_of_pixels_that_no_png_has(depth, colour):
    assert png_lines.count_bytes(10, 10, depth, colour) == 0


def test_each_line_begins_on_a_byte():
    assert png_lines.count_bytes(9, 2, 1, 0) == 2 * (1 + 2)
    assert png_lines.count_bytes(3, 5, 16, 6) == 5 * (1 + 3 * 4 * 2)
    data = write(np.zeros((4, 9), np.uint8), depth=1)
    assert is_inflated(data)
