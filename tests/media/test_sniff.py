from __future__ import annotations

import io

import numpy as np
import pytest

from tessera.errors import InvalidMedia
from tessera.media.item import Modality
from tessera.media.sniff import holds, identify, sniff

# With a picture of 5000 bytes: longer than what is looked at otherwise.
_TAG = b"ID3\x04\x00\x00\x00\x00\x27\x08" + bytes(5000)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_images_are_known(samples, format):
    kind = sniff(samples.image(format))
    assert kind is not None
    assert kind.modality is Modality.IMAGE
    assert kind.mime == f"image/{format.lower()}"


@pytest.mark.parametrize(
    ("format", "mime"),
    [("WAV", "audio/wav"), ("FLAC", "audio/flac"), ("OGG", "audio/ogg"), ("MP3", "audio/mpeg"), ("AIFF", "audio/aiff")],
)
def test_audio_is_known(samples, format, mime):
    assert sniff(samples.wav(format=format)).mime == mime


@pytest.mark.parametrize(
    ("options", "mime"),
    [
        ({"format": "mp4"}, "video/mp4"),
        ({"format": "mov"}, "video/quicktime"),
        ({"format": "3gp", "codec": "mpeg4"}, "video/3gpp"),
        ({"format": "webm", "codec": "libvpx"}, "video/webm"),
        ({"format": "matroska"}, "video/x-matroska"),
        ({"format": "avi", "codec": "mpeg4"}, "video/x-msvideo"),
        ({"format": "mpegts"}, "video/mp2t"),
        ({"format": "mpeg", "codec": "mpeg2video"}, "video/mpeg"),
        ({"format": "flv", "codec": "flv1"}, "video/x-flv"),
    ],
)
def test_videos_are_known(samples, options, mime):
    kind = sniff(samples.video(**options))
    assert (kind.modality, kind.mime) == (Modality.VIDEO, mime)


@pytest.mark.parametrize(
    ("format", "codec", "mime"),
    [
        ("ipod", "aac", "audio/mp4"),
        ("adts", "aac", "audio/aac"),
        ("mp4", "aac", "video/mp4"),
        ("webm", "libopus", "video/webm"),
    ],
)
def test_audio_containers_are_known(samples, format, codec, mime):
    rate = 48000 if codec == "libopus" else 16000
    assert sniff(samples.audio(format, codec, rate=rate)).mime == mime


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x08mdat", "video/quicktime"),
        (b"ID3\x04\x00", "audio/mpeg"),
        (_TAG, "audio/mpeg"),
        (_TAG + b"\xff\xfb\x90\x00", "audio/mpeg"),
        (_TAG + b"\xff\xf1\x50\x80", "audio/aac"),
        (_TAG + b"fLaC", "audio/flac"),
        (b"OggS\x00\x02" + bytes(22) + b"\x80theora", "video/ogg"),
        (b"#!AMR\n", "audio/amr"),
    ],
)
def test_headers_are_known(head, mime):
    assert sniff(head).mime == mime


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"#EXTM3U\nhttp://x/y.ts\n",
        b"<html>",
        b"% PDF-1.7",
        b"BM but not a bitmap",
        b"RIFF\0\0\0\0XXXX",
        b"\xff\xff\xff\xff",
        b"ffconcat version 1.0\nfile /etc/passwd",
    ],
)
def test_anything_else_is_unknown(data):
    assert sniff(data) is None


def test_random_bytes_never_raise():
    rng = np.random.default_rng(1)
    for _ in range(2000):
        sniff(rng.bytes(rng.integers(0, 64)))


def test_a_wrong_type_within_a_modality_is_accepted(samples):
    assert identify(samples.image("JPEG"), Modality.IMAGE, "image/png").mime == "image/jpeg"
    assert identify(samples.wav(), Modality.AUDIO, "audio/mp3").mime == "audio/wav"
    assert identify(samples.image("PNG"), Modality.IMAGE, "application/octet-stream").mime == "image/png"


@pytest.mark.parametrize(
    ("modality", "declared", "what"),
    [
        (Modality.IMAGE, "image/png", "audio/wav"),
        (Modality.VIDEO, None, "audio/wav"),
        (Modality.AUDIO, "video/mp4", "audio/wav"),
    ],
)
def test_a_wrong_modality_is_refused_by_what_it_really_is(samples, modality, declared, what):
    with pytest.raises(InvalidMedia, match=what):
        identify(samples.wav(), modality, declared)


def test_jpeg_declared_as_video_is_refused(samples):
    with pytest.raises(InvalidMedia, match="image/jpeg"):
        identify(samples.image("JPEG"), Modality.VIDEO, "video/mp4")
    with pytest.raises(InvalidMedia, match="declares video/mp4 and really is image/jpeg"):
        identify(samples.image("JPEG"), Modality.IMAGE, "video/mp4")


def test_containers_may_hold_sound_and_gifs_may_move(samples):
    webm = sniff(samples.video(format="webm", codec="libvpx"))
    assert holds(webm, Modality.AUDIO)
    assert not holds(webm, Modality.IMAGE)
    gif = sniff(samples.image("GIF"))
    assert holds(gif, Modality.VIDEO)
    assert not holds(sniff(samples.image("PNG")), Modality.VIDEO)


@pytest.mark.parametrize("modality", Modality)
def test_empty_and_unknown_data_is_refused(modality):
    for data in (b"", bytes(100), io.BytesIO(b"hello").getvalue()):
        with pytest.raises(InvalidMedia):
            identify(data, modality, None)
