"""Numbers that are no sound do not reach an engine, and sound that is only loud does so as it is."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.errors import InvalidMedia
from tessera.media import MediaSpec, audio
from tessera.media.item import Modality, pack
from tessera.media.levels import MAX_LEVEL
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.sounds import encode, mp3, read, steps, write


def decode(data, settings, rate=16000):
    return audio.decode(data, sniff(data), MediaSpec(audio_sample_rate_hz=rate), settings, Deadline())[0]


def float32(sound, rate=16000):
    return write(sound, rate, "WAV", "FLOAT")


@pytest.mark.parametrize("level", [1.0, 1.5, 4.0, 39.0])
def test_loud_sound_is_equal_to_what_vllms_loader_makes_of_it(settings, level):
    data = float32(steps(1, 16000, channels=2) * level)
    assert np.array_equal(decode(data, settings), read(data))


def test_what_codecs_overshoot_is_kept(settings):
    noise = np.sign(np.random.default_rng(0).standard_normal((1, 160_000))).astype(np.float32)
    data = mp3(noise, 16000)
    samples = decode(data, settings)
    assert np.abs(samples).max() > 1.5
    assert np.array_equal(samples, read(data))


def scaled(factor, rate=16000, channels=1):
    return (steps(1, rate, channels=channels).astype(np.float64) * factor / 0.4).astype(np.float32)


def right_channel(value):
    sound = scaled(1, channels=2)
    sound[1] = value
    return sound


NOT_SOUND = {
    "a hundred times too loud": lambda: float32(scaled(100)),
    "16-bit values": lambda: float32(np.round(scaled(32767))),
    "1e30": lambda: float32(scaled(1e30)),
    "3e38 at 8 kHz": lambda: float32(scaled(3e38, 8000), 8000),
    "3e38 in two channels": lambda: float32(scaled(3e38, channels=2)),
    "1e300": lambda: write(steps(1, 16000).astype(np.float64) * 1e300, 16000, "WAV", "DOUBLE"),
    "NaN": lambda: float32(scaled(np.nan)),
    "NaN in one channel": lambda: float32(right_channel(np.nan)),
    "infinite": lambda: float32(np.full((1, 16000), np.inf, np.float32)),
    "AIFF": lambda: write(scaled(1e30), 16000, "AIFF", "FLOAT"),
    "AIFF of float64": lambda: write(scaled(np.nan), 16000, "AIFF", "DOUBLE"),
    "QuickTime": lambda: encode(scaled(1e30), 16000, "mov", "pcm_f32le"),
    "Matroska of float64": lambda: encode(scaled(3e38, 8000, 2), 8000, "matroska", "pcm_f64le"),
}


@pytest.mark.parametrize("name", NOT_SOUND)
def test_numbers_that_are_not_sound_are_refused(settings, name):
    with pytest.raises(InvalidMedia, match="16-bit values have to be divided by 32768"):
        decode(NOT_SOUND[name](), settings)


def test_the_sound_of_a_video_is_bounded_too(settings):
    data = encode(scaled(1e30), 16000, "matroska", "pcm_f32le")
    with pytest.raises(InvalidMedia, match=r"(4\d|9\d|100) % of the audio's samples"):
        audio.decode_track(data, sniff(data), MediaSpec(), settings, Deadline())


@pytest.mark.parametrize("value", [1e30, -3e38, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (8000, 1), (44100, 2)])
def test_a_single_broken_sample_is_a_click(settings, rate, channels, value):
    clean = steps(2, rate, channels=channels)
    broken = clean.copy()
    broken[:, rate] = value
    samples = decode(float32(broken, rate), settings)
    expected = decode(float32(clean, rate), settings)
    assert np.abs(samples).max() <= MAX_LEVEL
    far = np.abs(np.arange(len(expected)) - 16000) > 800
    assert np.allclose(samples[far], expected[far], atol=2e-3)


def test_silence_is_sound(settings):
    assert not decode(float32(np.zeros((1, 16000), np.float32)), settings).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_that_is_not_finite_is_packed(value):
    samples = np.zeros(100, np.float32)
    samples[7] = value
    with pytest.raises(ValueError, match="not finite"):
        pack(samples, Modality.AUDIO, {})
