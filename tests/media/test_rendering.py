"""Wide colours and high dynamic range come out as sRGB: known values in, known values out."""

from __future__ import annotations

import io

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from tessera.media import MediaSpec, code_points, image
from tessera.media.code_points import BT709, BT2020, DISPLAY_P3, HLG, PQ, CodePoints
from tessera.media.limits import Deadline, DecodeCancelled
from tessera.media.rendering import Rendering
from tessera.media.sniff import sniff
from tests.media import clips, profiles
from tests.media.pictures import chunk, encoded, png, scene

# Values of sRGB's own red, green and blue in other spaces (CSS Color 4, section 10, and Adobe RGB (1998)).
IN_P3 = {(234, 51, 35): (255, 0, 0), (117, 251, 76): (0, 255, 0), (0, 0, 245): (0, 0, 255)}
IN_ADOBE = {(219, 0, 0): (255, 0, 0), (144, 255, 60): (0, 255, 0), (0, 0, 250): (0, 0, 255)}
GREYS = [(value, value, value) for value in (0, 1, 2, 10, 64, 128, 200, 254, 255)]
# Light in cd/m², and the value that it has in sRGB: as it is up to 88, compressed up to 1,000.
SHOWN = {0: 0, 1: 15, 10: 63, 50: 136, 80: 168, 203: 229, 1000: 255, 4000: 255, 10_000: 255}
# Values of HLG and of sRGB: 0.75 is white paper.
HLG_SHOWN = {0.0: 0, 0.25: 61, 0.5: 137, 0.75: 229, 1.0: 255}


def pq(nits):
    """SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (np.asarray(nits, float) / 10_000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def decode(data, settings):
    return np.asarray(image.decode(data, sniff(data), settings, Deadline()))


def patches(colours, size=16):
    """A row of flat squares."""
    row = np.repeat(np.array([*colours], np.uint8), size, axis=0)
    return np.repeat(row[None], size, axis=0)


def middles(pixels, count, size=16):
    return pixels[size // 2, size // 2 :: size][:count].astype(int)


def render(points, values):
    values = np.asarray(values)
    return Rendering.of(points).apply(values.reshape(1, -1, 3), Deadline())[0]


@pytest.mark.parametrize("levels", [255, 65535])
def test_light_of_pq_up_to_white_stays_and_what_is_brighter_is_compressed(levels):
    dtype = np.uint8 if levels == 255 else np.uint16
    values = np.rint(pq(list(SHOWN)) * levels).astype(dtype)
    shown = render(CodePoints(BT2020, PQ), np.stack([values] * 3, -1))
    # A level of 8 bits is up to 4 % of the light.
    assert np.abs(shown.astype(int) - np.array(list(SHOWN.values()))[:, None]).max() <= (2 if levels == 255 else 1)
    assert np.ptp(shown, axis=1).max() == 0


def test_light_of_hlg_is_that_of_its_display():
    values = np.rint(np.array(list(HLG_SHOWN)) * 65535).astype(np.uint16)
    shown = render(CodePoints(BT2020, HLG), np.stack([values] * 3, -1))
    assert np.abs(shown.astype(int) - np.array(list(HLG_SHOWN.values()))[:, None]).max() <= 1
    assert np.ptp(shown, axis=1).max() <= 1


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("levels", [255, 65535])
def test_more_light_is_never_darker(transfer, levels):
    values = np.arange(levels + 1).astype(np.uint8 if levels == 255 else np.uint16)
    shown = render(CodePoints(BT2020, transfer), np.stack([values] * 3, -1))[:, 0].astype(int)
    # But for rounding, of tables of a finer grid than 8 bits.
    assert (np.diff(shown) >= (-1 if levels > 255 else 0)).all()
    assert (shown[0], shown[-1]) == (0, 255)


def test_bright_colours_keep_their_hue():
    # Orange of 60 and of 600 cd/m²: the same ratio of light, as far as it is in sRGB.
    dim, bright = render(CodePoints(BT709, PQ), np.rint(pq([[60, 30, 12], [600, 300, 120]]) * 65535).astype(np.uint16))
    light = [((np.array(pixel) / 255 + 0.055) / 1.055) ** 2.4 for pixel in (dim, bright)]
    ratios = [one / one.max() for one in light]
    assert np.abs(ratios[0] - ratios[1]).max() < 0.02
    assert bright[0] > 235


def test_values_of_p3_are_those_of_srgb_with_the_same_colour():
    shown = render(CodePoints(DISPLAY_P3, 13), np.array([*IN_P3, *GREYS], np.uint8))
    assert np.abs(shown.astype(int) - [*IN_P3.values(), *GREYS]).max() <= 3
    # sRGB's red in BT.2020, by its matrix (ITU-R BT.2087) and sRGB's curve.
    red = np.array([[0.6274, 0.0691, 0.0164]])
    values = np.rint(255 * (1.055 * red ** (1 / 2.4) - 0.055)).astype(np.uint8)
    assert np.abs(render(CodePoints(BT2020, 14), values).astype(int) - [255, 0, 0]).max() <= 8


@pytest.mark.parametrize("points", [(1, 1), (2, 2), (1, 13), (5, 6), (6, 6), (2, 1), (1, 8), (0, 0), (255, 255)])
def test_ordinary_and_unknown_values_are_left_alone(points):
    assert Rendering.of(CodePoints(*points)) is None


def test_the_deadline_is_looked_at():
    deadline = Deadline()
    deadline.cancel()
    with pytest.raises(DecodeCancelled):
        Rendering.of(CodePoints(BT2020, PQ)).apply(np.zeros((4, 4, 3), np.uint8), deadline)


# Image files.


def test_a_png_says_it_in_a_chunk_of_its_own(settings):
    greys = np.stack([np.rint(pq(list(SHOWN)) * 65535).astype(int)] * 3, -1)[None]
    data = png(greys, depth=16, before=chunk(b"cICP", bytes((BT2020, PQ, 0, 1))))
    assert np.abs(decode(data, settings)[0].astype(int) - np.array(list(SHOWN.values()))[:, None]).max() <= 2
    # It counts for more than a profile.
    both = chunk(b"cICP", bytes((BT709, 13, 0, 1)))
    data = encoded(Image.fromarray(patches(IN_P3)), "PNG", icc_profile=profiles.display(profiles.DISPLAY_P3))
    place = data.index(b"IDAT") - 4
    assert np.array_equal(middles(decode(data[:place] + both + data[place:], settings), 3), list(IN_P3))


def test_an_avif_of_10_bits_says_it_in_its_container(settings):
    for transfer, table in ((PQ, dict(zip(pq(list(SHOWN)), SHOWN.values(), strict=True))), (HLG, HLG_SHOWN)):
        data = grey_stream(list(table), BT2020, transfer, format="avif", codec="libsvtav1")
        shown = middles(decode(data, settings), len(table))
        assert np.abs(shown - np.array(list(table.values()))[:, None]).max() <= 5


def test_a_heic_says_it_in_its_container(settings):
    file = io.BytesIO()
    values = np.rint(pq(list(SHOWN)) * 255).astype(np.uint8)
    picture = pillow_heif.from_pillow(Image.fromarray(patches(np.stack([values] * 3, -1))))
    picture.save(
        file,
        quality=100,
        chroma=444,
        color_primaries=BT2020,
        transfer_characteristics=PQ,
        matrix_coefficients=9,
        full_range_flag=1,
    )
    shown = middles(decode(file.getvalue(), settings), len(SHOWN))
    assert np.abs(shown - np.array(list(SHOWN.values()))[:, None]).max() <= 5


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("primaries", "gamma", "known"), [(profiles.DISPLAY_P3, None, IN_P3), (profiles.ADOBE_RGB, 2.19921875, IN_ADOBE)]
)
def test_a_profile_counts(settings, format, primaries, gamma, known):
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100}}
    data = encoded(
        Image.fromarray(patches(known)),
        format,
        icc_profile=profiles.display(primaries, gamma),
        **lossless.get(format, {}),
    )
    assert np.abs(middles(decode(data, settings), len(known)) - list(known.values())).max() <= 6


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_pixels_with_a_profile_of_srgb_stay_as_they_are(settings, format):
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    damaged = profiles.display(profiles.ADOBE_RGB)[:200]
    for profile in (own, profiles.display(profiles.SRGB), b"no profile", damaged):
        with_profile = encoded(Image.fromarray(scene()), format, icc_profile=profile)
        without = encoded(Image.fromarray(scene()), format)
        assert np.array_equal(decode(with_profile, settings), decode(without, settings)), profile[:10]


def test_grey_has_no_colours_to_convert(settings):
    grey = Image.fromarray(scene()).convert("L")
    profile = profiles.display(profiles.ADOBE_RGB)
    assert np.array_equal(decode(encoded(grey, "PNG", icc_profile=profile), settings)[..., 0], np.asarray(grey))


def test_ink_is_seen_as_its_profile_says(settings):
    # Paper is white, and black ink with others is black; cyan alone is the blue of print, not that of a screen.
    def colour_of(c, m, y, k):
        return (0, 0, 0) if k else (100 - 15 * (c + m + y), -37 * c + 74 * m, -50 * c + 93 * y)

    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32, 0] = inks[:, 32:, 3] = 255
    picture = Image.fromarray(inks, "CMYK")
    for name in ("TIFF", "JPEG"):
        data = encoded(
            picture, name, icc_profile=profiles.ink(colour_of), **({} if name == "TIFF" else {"quality": 100})
        )
        paper, cyan, black = middles(decode(data, settings), 3)
        assert paper.min() > 250
        assert black.max() < 8
        # Lab 85, -37, -50 is out of sRGB only in red.
        assert cyan[0] < 40
        assert abs(cyan[1] - 230) < 16
        assert cyan[2] > 250
        plain = middles(decode(encoded(picture, name), settings), 3)
        assert np.abs(plain[1] - [0, 255, 255]).max() < 4


def test_a_profile_of_many_bytes_is_not_looked_at(settings):
    profile = profiles.display(profiles.ADOBE_RGB) + bytes(2 << 20)
    for name in ("PNG", "TIFF"):
        data = encoded(Image.fromarray(scene()), name, icc_profile=profile)
        assert np.array_equal(decode(data, settings), scene()), name


@pytest.mark.parametrize("format", ["AVIF", "HEIC"])
def test_damaged_containers_raise_nothing_else(settings, format):
    good = grey_stream([0.2, 0.5], BT2020, PQ, format="avif", codec="libsvtav1")
    rng = np.random.default_rng(3)
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(0, len(good), 3):
            data[place] = rng.integers(256)
        code_points.find(bytes(data[: rng.integers(20, len(data))]), f"image/{format.lower()}", Deadline())


# Videos.


def grey_stream(signals, primaries, transfer, *, format="mp4", codec="libx264", matrix=9, wide_range=False):
    """Grey patches of 10 bits, exactly these signals (0 to 1)."""
    width, options = 16 * len(signals), {"libx264": {"qp": "0"}, "libsvtav1": {"crf": "4", "preset": "8"}}
    options["libx265"] = {"x265-params": "log-level=none:qp=2:bframes=0"}
    width += width % 64 and 64 - width % 64
    values = np.zeros(width)
    values[: 16 * len(signals)] = np.repeat(signals, 16)
    luma = np.rint(1023 * values if wide_range else 64 + 876 * values).astype(np.uint16)
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25, options=options[codec])
        stream.width, stream.height, stream.pix_fmt = width, 64, "yuv420p10le"
        tags = {
            "colorspace": matrix,
            "color_range": 1 + wide_range,
            "color_trc": transfer,
            "color_primaries": primaries,
        }
        frame = av.VideoFrame(width, 64, "yuv420p10le")
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
            setattr(frame, name, value)
        rows = np.zeros((64, frame.planes[0].line_size // 2), np.uint16)
        rows[:, :width] = luma
        frame.planes[0].update(rows.tobytes())
        for plane in frame.planes[1:]:
            plane.update(np.full(plane.buffer_size // 2, 512, np.uint16).tobytes())
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize("wide_range", [False, True])
def test_videos_are_shown_as_images_are(settings, codec, wide_range):
    for transfer, table in ((PQ, dict(zip(pq(list(SHOWN)), SHOWN.values(), strict=True))), (HLG, HLG_SHOWN)):
        data = grey_stream(list(table), BT2020, transfer, codec=codec, wide_range=wide_range)
        frames, _ = clips.decode(data, settings, MediaSpec())
        shown = middles(frames[0], len(table))
        assert np.abs(shown - np.array(list(table.values()))[:, None]).max() <= 4, transfer


def test_a_video_that_does_not_say_its_matrix_has_that_of_its_colours(settings):
    table = dict(zip(pq(list(SHOWN)), SHOWN.values(), strict=True))
    said, unsaid = (clips.decode(grey_stream(list(table), BT2020, PQ, matrix=matrix), settings)[0] for matrix in (9, 2))
    assert np.array_equal(said, unsaid)
