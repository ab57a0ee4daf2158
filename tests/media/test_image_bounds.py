"""Images that would keep a decoder busy, or fill its memory, with few bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.errors import MediaDecodeTimeout, MediaTooLarge
from tessera.media import image, jpeg, tiff
from tessera.media.limits import Deadline, DecodeCancelled
from tessera.media.sniff import sniff
from tests.media.pictures import encoded, jpeg_scans, many_scans, scene
from tests.media.pictures import tiff as make_tiff


def decode(data, settings, deadline=None):
    return np.asarray(image.decode(data, sniff(data), settings, deadline or Deadline()))


class Countdown(Deadline):
    """Passes after a number of checks, whatever the machine's speed."""

    def __init__(self, checks):
        super().__init__()
        self.checks = checks

    def check(self):
        self.checks -= 1
        if self.checks < 0:
            self.cancel()
        super().check()


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(settings):
    good = encoded(scene(), "JPEG", progressive=True)
    scans = len(jpeg_scans(good))
    most = many_scans(good, jpeg.MAX_SCANS - scans)
    assert decode(most, settings).shape == scene().shape
    with pytest.raises(MediaTooLarge, match=f"{jpeg.MAX_SCANS + 1} scans"):
        decode(many_scans(good, jpeg.MAX_SCANS - scans + 1), settings)


@pytest.mark.parametrize("filling", [b"", b"\0\0", b"\xff\xff"])
def test_scans_are_counted_behind_whatever_libjpeg_skips(settings, filling):
    good = encoded(scene(), "JPEG", progressive=True)
    last = jpeg_scans(good)[-1]
    data = good[: last.stop] + (filling + good[last]) * jpeg.MAX_SCANS + good[last.stop :]
    with pytest.raises(MediaTooLarge, match="scans"):
        decode(data, settings)


def test_the_scans_of_a_thumbnail_do_not_count(settings):
    good = encoded(scene(), "JPEG")
    thumbnails = b"".join(b"\xff\xe5\xea\x62" + b"\xff\xda" * 30_000 for _ in range(3))
    assert np.array_equal(decode(good[:2] + thumbnails + good[2:], settings), decode(good, settings))


def test_a_jpeg_of_many_segments_is_refused(settings):
    good = encoded(scene(), "JPEG")
    flood = good[:2] + b"\xff\xe5\0\2" * 100_000 + good[2:]
    for call in (decode, lambda data, settings: image.count_pixels(data, sniff(data), settings, Deadline())):
        with pytest.raises(MediaTooLarge, match="segments"):
            call(flood, settings)


def test_a_tiff_in_countless_parts_is_refused(settings):
    strips = make_tiff(scene(), tags={273: [8] * (tiff.MAX_PIECES + 1)})
    tags = make_tiff(scene(), tags={40_000 + number: [0] for number in range(tiff.MAX_TAGS)})
    for data in (strips, tags):
        with pytest.raises(MediaTooLarge, match="at most"):
            decode(data, settings)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_whoever_went_away_stops_the_decoding_of_an_image(settings, format):
    data = encoded(scene(640, 480), format)
    deadline = Deadline()
    deadline.cancel()
    with pytest.raises(DecodeCancelled):
        decode(data, settings, deadline)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP"])
def test_the_deadline_is_looked_at_in_the_midst_of_the_pixels(settings, format):
    data = encoded(scene(640, 480), format)
    total = Countdown(1_000_000)
    decode(data, settings, total)
    checks = 1_000_000 - total.checks
    assert checks > 10
    with pytest.raises(DecodeCancelled):
        decode(data, settings, Countdown(checks * 3 // 4))


def test_an_image_that_takes_too_long_is_told_as_a_limit_of_the_servers(settings):
    with pytest.raises(MediaDecodeTimeout):
        decode(encoded(scene(), "JPEG"), settings, Deadline(timeout_s=-1))
