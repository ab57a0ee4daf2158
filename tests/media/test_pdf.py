"""Pages of documents, as pixels."""

from __future__ import annotations

import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from loadtests.fuzz.pdf import pdf, square, words
from tessera.errors import MediaDecodeFailed, MediaDecodeTimeout, MediaTooLarge
from tessera.media import DecodeJob, ImageResize, MediaSpec, Modality, decoding
from tessera.media.decoding import Page
from tessera.media.limits import Deadline, DecodeCancelled
from tessera.media.pdf import render, sizes
from tessera.media.sniff import PDF, sniff

RED, BLUE = (255, 0, 0), (0, 0, 255)


def shown(data, number=0, settings=None, **options):
    return np.asarray(render(data, number, settings, Deadline(), **options))


def test_each_page_is_painted_in_its_colours_on_white(settings):
    data = pdf([square(1, 0, 0), square(0, 0, 1)])
    assert sniff(data) == PDF
    assert sizes(data, settings, Deadline()) == [(400, 200)] * 2
    for number, colour in enumerate((RED, BLUE)):
        pixels = shown(data, number, settings)
        assert pixels.shape == (200, 400, 3)
        # The origin is below on the left.
        assert tuple(pixels[120, 60]) == colour
        assert tuple(pixels[10, 10]) == (255, 255, 255)


def test_letters_are_painted_whatever_fonts_the_machine_has(settings):
    for font in (b"/Helvetica", b"/NoSuchFont"):
        pixels = shown(pdf([words("Seven")], font=font), 0, settings)
        assert (pixels.min(axis=2) < 64).sum() > 300
    assert (shown(pdf([words("Seven")]), 0, settings) != shown(pdf([words("Eight")]), 0, settings)).any()


def test_a_page_is_turned_and_cut_as_it_says(settings):
    data = pdf([square(1, 0, 0)], page=b"/Rotate 90")
    assert sizes(data, settings, Deadline()) == [(200, 400)]
    assert shown(data, 0, settings).shape == (400, 200, 3)
    cut = pdf([square(1, 0, 0)], page=b"/CropBox[20 20 80 80]")
    assert (shown(cut, 0, settings) == RED).all()


def test_what_was_filled_into_a_form_is_seen(settings):
    look = b"<</Type/XObject/Subtype/Form/BBox[0 0 40 40]/Length 25>>stream\n0 0 1 rg 0 0 40 40 re f \nendstream"
    widget = b"<</Type/Annot/Subtype/Widget/FT/Tx/F 4/T(a)/V(b)/Rect[100 20 140 60]/AP<</N 4 0 R>>/DA(/F 12 Tf)>>"
    data = pdf([b""], more=[look, widget], catalog=b"/AcroForm<</Fields[5 0 R]/DR<<>>>>", page=b"/Annots[5 0 R]")
    assert tuple(shown(data, 0, settings)[120, 240]) == BLUE


def test_a_picture_in_a_document_is_that_picture(settings):
    picture, file = Image.new("RGB", (144, 72), (0, 128, 255)), BytesIO()
    picture.save(file, "PDF", resolution=144)
    pixels = shown(file.getvalue(), 0, settings)
    assert pixels.shape == (72, 144, 3)
    assert np.abs(pixels.astype(int) - (0, 128, 255)).max() <= 3


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 612, 792), (1224, 1584)),
        ((0, 0, 14_400, 14_400), (2000, 2000)),
        ((0, 0, 1e9, 1e9), (2000, 2000)),
        ((0, 0, 1e9, 1), (16_384, 1)),
        ((0, 0, 1, 1), (2, 2)),
        ((0, 0, 0.001, 0.001), None),
        ((-50, -50, 50, 50), (200, 200)),
        # As readers have it, a page without a size is a sheet of paper.
        ((0, 0, 0, 0), (1224, 1584)),
    ],
)
def test_a_page_is_as_large_as_it_says_within_bounds(settings, box, size):
    data = pdf([square(1, 0, 0)], box=box)
    [found] = sizes(data, settings, Deadline())
    assert size is None or found == size
    pixels = shown(data, 0, settings)
    assert pixels.shape[:2] == found[::-1]
    assert found[0] * found[1] <= settings.media_max_page_pixels


def test_settings_say_how_large(make_settings):
    data = pdf([square(1, 0, 0)])
    assert sizes(data, make_settings(media_page_dpi=72), Deadline()) == [(200, 100)]
    assert sizes(data, make_settings(media_max_page_pixels=5000), Deadline()) == [(100, 50)]


def test_a_page_is_painted_in_the_size_that_its_model_sees(settings):
    data, resize = pdf([words("Seven")], box=(0, 0, 612, 792)), ImageResize(28, 4 * 784, 256 * 784)
    [size] = sizes(data, settings, Deadline(), resize)
    assert size == resize.shrunk(1224, 1584)
    assert shown(data, 0, settings, resize=resize).shape[:2] == size[::-1]
    job = DecodeJob(Modality.IMAGE, PDF, data, MediaSpec(image_resize=resize), page=Page(0, 1))
    [[_, pixels]] = decoding.decode(job, settings, Deadline())
    assert len(pixels) == size[0] * size[1] * 3


def encrypted():
    """By a password, with RC4, as old programs have it: any other reader asks for it."""
    key = b"(" + b"\x80" * 32 + b")"
    return pdf([b""], trailer=b"/Encrypt<</Filter/Standard/V 1/R 2/O%b/U%b/P -4>>/ID[<00><00>]" % (key, key))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"%PDF-1.7", "damaged"),
        (b"%PDF-1.7" + b"x" * 5000, "damaged"),
        (pdf([b"x"])[:120], "damaged"),
        (pdf([]), "damaged"),
        (encrypted(), "password"),
        (pdf([b""], trailer=b"/Encrypt<</Filter/Nothing/V 9>>/ID[<00><00>]"), "password"),
    ],
)
def test_what_is_no_document_that_can_be_read(settings, data, why):
    with pytest.raises(MediaDecodeFailed, match=why):
        sizes(data, settings, Deadline())
    with pytest.raises(MediaDecodeFailed):
        render(data, 0, settings, Deadline())


def test_more_pages_than_are_allowed(make_settings):
    with pytest.raises(MediaTooLarge, match="3 pages; at most 2"):
        sizes(pdf([b""] * 3), make_settings(media_max_pages=2), Deadline())


def test_a_page_that_is_not_there_is_named(settings):
    lying = pdf([b""]).replace(b"/Count 1", b"/Count 9")
    with pytest.raises(MediaDecodeFailed) as refused:
        sizes(lying, settings, Deadline())
    assert refused.value.message.startswith("Page 2: The page cannot be decoded")


def test_nothing_is_painted_after_the_deadline(settings):
    data = pdf([b"0 0 1 rg 0 0 9 9 re f " * 200_000])
    with pytest.raises(MediaDecodeTimeout):
        render(data, 0, settings, Deadline(0))
    deadline = Deadline()
    deadline.cancel()
    with pytest.raises(DecodeCancelled):
        render(data, 0, settings, deadline)


def test_what_a_document_wants_to_do_it_does_not_do(settings):
    """No script runs, and no file or address is asked for."""
    action = b"/OpenAction<</S/JavaScript/JS(while(true){})>>"
    elsewhere = b"/Ref<</F(http://127.0.0.1:9/x.pdf)/Page 0>>"
    external = b"<</Type/XObject/Subtype/Form%b/BBox[0 0 9 9]/Length 0>>stream\n\nendstream" % elsewhere
    data = pdf([b"/X Do " + square(1, 0, 0)], more=[external], catalog=action)
    assert tuple(shown(data, 0, settings)[120, 60]) == RED


def test_a_stream_that_is_compressed_again_and_again(settings):
    content = b"0 0 1 rg 0 0 9 9 re f " * 50
    for _ in range(8):
        content = zlib.compress(content)
    data = pdf([content], stream=b"/Filter[%b]" % (b"/FlateDecode" * 8))
    with suppress(MediaDecodeFailed):
        assert shown(data, 0, settings).shape == (200, 400, 3)
