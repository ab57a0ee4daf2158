from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from tessera.errors import InvalidMedia, MediaDecodeTimeout, MediaTooLarge
from tessera.media import MediaSpec, audio
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.sounds import encode, heard, steps


def decode(data, settings, spec=None, deadline=None):
    return audio.decode(data, sniff(data), spec or MediaSpec(), settings, deadline or Deadline())


def test_16_khz_mono_samples_come_out_as_they_were(samples, settings):
    data = samples.wav(1.5)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    got, metadata = decode(data, settings)
    assert got.dtype == np.float32
    assert np.array_equal(got, expected)
    assert metadata == {"sample_rate": 16000, "duration": 1.5}


def test_channels_are_averaged(samples, settings):
    data = samples.wav(channels=3)
    expected = soundfile.read(io.BytesIO(data), dtype="float32")[0].mean(axis=1)
    assert np.allclose(decode(data, settings)[0], expected, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 6, 7, 8, 16])
def test_channels_of_films_are_averaged(settings, channels):
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, (channels, 20_000)).astype(np.float32)
    got, _ = decode(encode(sound, 16000, "mov", "pcm_s16le"), settings)
    # Each to 16 bits.
    assert np.abs(got - sound.mean(axis=0)).max() < 2**-15


@pytest.mark.parametrize(("format", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("matroska", "flac")])
def test_eight_channels_of_a_codec_are_heard(settings, format, codec):
    rate = 48000
    got, _ = decode(encode(steps(3, rate, channels=8), rate, format, codec), settings)
    assert heard(got)[:3] == [0, 1, 2]


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled(samples, settings, rate):
    tone = np.sin(np.arange(rate) * 2 * np.pi * 440 / rate).astype(np.float32) * 0.5
    buffer = io.BytesIO()
    soundfile.write(buffer, tone, rate, format="WAV", subtype="FLOAT")
    got, metadata = decode(buffer.getvalue(), settings)
    assert abs(len(got) - 16000) <= 1
    assert metadata["sample_rate"] == 16000
    expected = np.sin(np.arange(len(got)) * 2 * np.pi * 440 / 16000) * 0.5
    assert np.abs(got - expected)[200:-200].max() < 1e-3


def test_the_models_rate_is_respected(samples, settings):
    assert len(decode(samples.wav(0.5), settings, MediaSpec(audio_sample_rate_hz=24000))[0]) == pytest.approx(
        12000, abs=1
    )


@pytest.mark.parametrize(
    ("format", "codec", "rate"),
    [
        ("ipod", "aac", 16000),
        ("mp4", "aac", 16000),
        ("adts", "aac", 16000),
        ("webm", "libopus", 48000),
        ("mov", "pcm_s16le", 16000),
        ("ogg", "libopus", 48000),
    ],
)
def test_every_container_decodes(samples, settings, format, codec, rate):
    got, _ = decode(samples.audio(format, codec, 0.5, rate), settings)
    assert len(got) == pytest.approx(8000, rel=0.2)
    assert 0.2 < np.abs(got).max() < 0.6


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3", "AIFF"])
def test_soundfile_formats_decode(samples, settings, format):
    assert len(decode(samples.wav(0.5, format=format), settings)[0]) == pytest.approx(8000, rel=0.2)


def test_the_sound_of_a_video_is_audio(samples, settings):
    data = samples.video(12, sound_s=0.5)
    assert len(decode(data, settings)[0]) == pytest.approx(8000, rel=0.2)


def test_a_video_without_sound_is_not(samples, settings):
    data = samples.video(3)
    assert audio.decode_track(data, sniff(data), MediaSpec(), settings, Deadline()) is None
    with pytest.raises(InvalidMedia, match="no audio stream"):
        decode(data, settings)


def test_the_duration_limit_is_exact(samples, make_settings):
    settings = make_settings(media_max_audio_s=0.5)
    for options in ({}, {"rate": 8000}, {"format": "FLAC"}):
        assert decode(samples.wav(0.5, **options), settings)[0].size
        with pytest.raises(MediaTooLarge, match=r"0\.5 s"):
            decode(samples.wav(0.501, **options), settings)
    with pytest.raises(MediaTooLarge):
        decode(samples.audio("ipod", "aac", 1.0), settings)


def test_wall_time_is_limited(samples, settings):
    with pytest.raises(MediaDecodeTimeout, match="takes longer than"):
        decode(samples.wav(), settings, deadline=Deadline(-1))


def test_empty_audio_is_refused(samples, settings):
    with pytest.raises(InvalidMedia):
        decode(samples.wav(0), settings)


def test_odd_rates_are_refused(samples, settings):
    with pytest.raises(InvalidMedia, match="10 Hz"):
        decode(samples.wav(1, rate=10), settings)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_damaged_audio_raises_nothing_else(samples, settings, format):
    good = samples.wav(0.2, format=format)
    rng = np.random.default_rng(4)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.integers(1, 10)):
            data[rng.integers(12, len(data))] = rng.integers(256)
        data = data[: rng.integers(12, len(data))] if rng.random() < 0.5 else data
        try:
            got, _ = audio.decode(bytes(data), sniff(good), MediaSpec(), settings, Deadline())
        except (InvalidMedia, MediaTooLarge):
            continue
        assert np.isfinite(got).all()
