from __future__ import annotations

import numpy as np
import pytest

from tessera.errors import MediaDecodeFailed
from tessera.media import MediaSpec, dolby_vision, video
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.clips import clip, number

FRAMES = 4
TO_THE_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hev1")
QUIET = {"x265-params": "log-level=none"}


def record(profile, compatibility):
    return bytes([1, 0]) + (profile << 9 | 6 << 3 | 0b101).to_bytes(2, "big") + bytes([compatibility << 4]) + bytes(19)


@pytest.fixture(scope="module")
def hevc():
    return clip(FRAMES, codec="libx265", pixel_format="yuv420p10le", encoder=QUIET)


def mp4(data, name, content):
    """The file with one more box in the description of its pictures."""
    box = (8 + len(content)).to_bytes(4, "big") + name + content
    file, at = bytearray(data), 0
    for container in TO_THE_ENTRY:
        at = file.index(container, at) - 4
        size = int.from_bytes(file[at : at + 4], "big")
        file[at : at + 4] = (size + len(box)).to_bytes(4, "big")
        end, at = at + size, at + 8
    file[end:end] = box
    return bytes(file)


def read(data, settings):
    return video.decode(data, sniff(data), MediaSpec(), settings, Deadline())[0]


@pytest.mark.parametrize(("name", "profile"), [(b"dvcC", 5), (b"dvvC", 10)])
def test_colours_that_only_dolby_knows_are_refused(settings, hevc, name, profile):
    with pytest.raises(MediaDecodeFailed, match=f"Dolby Vision profile {profile}.*HDR10, HLG or SDR"):
        read(mp4(hevc, name, record(profile, 0)), settings)


@pytest.mark.parametrize(
    ("name", "profile", "compatibility"), [(b"dvcC", 7, 6), (b"dvvC", 8, 1), (b"dvvC", 8, 4), (b"dvvC", 10, 1)]
)
def test_a_base_layer_that_others_can_show_is_read(settings, hevc, name, profile, compatibility):
    frames = read(mp4(hevc, name, record(profile, compatibility)), settings)
    assert np.array_equal(frames, read(hevc, settings))
    assert [number(frame) for frame in frames] == list(range(FRAMES))


def test_a_name_alone_says_nothing(settings, hevc):
    for content in (b"", record(5, 0)[:8]):
        data = mp4(hevc, b"dvcC", content)
        dolby_vision.check(data, sniff(data), Deadline())
    assert len(read(mp4(hevc, b"free", b"dvcC" + record(5, 0)), settings)) == FRAMES


def test_matroska_says_it_in_its_own_way():
    head = b"\x1a\x45\xdf\xa3" + bytes(100)
    kind = sniff(head)
    for profile, compatibility, refused in ((5, 0, True), (8, 1, False)):
        data = head + b"\x41\xe7\x84dvcC\x41\xed\x98" + record(profile, compatibility) + bytes(100)
        if refused:
            with pytest.raises(MediaDecodeFailed, match="Dolby Vision"):
                dolby_vision.check(data, kind, Deadline())
        else:
            dolby_vision.check(data, kind, Deadline())
