from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tessera.media import DecodeJob, MediaSpec, decoding
from tessera.media.item import Modality
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.sounds import encode, steps, write


def job(data, rate=16000):
    return DecodeJob(Modality.AUDIO, sniff(data), data, MediaSpec(audio_sample_rate_hz=rate))


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize(
    "make",
    [lambda sound: write(sound, 44100, "FLAC"), lambda sound: encode(sound, 44100, "mov", "pcm_s16le")],
    ids=["libsndfile", "FFmpeg"],
)
def test_decoding_holds_little_more_than_the_samples(settings, make, rate):
    seconds = 120
    data = make(np.tile(steps(30), (1, seconds // 30)))
    tracemalloc.start()
    try:
        (packed,) = decoding.decode(job(data, rate), settings, Deadline())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(map(len, packed))
    assert size == pytest.approx(4 * rate * seconds, rel=0.01)
    assert peak < 1.3 * size + len(data)
    # What is reserved for it is enough.
    assert peak < decoding.measure(job(data, rate), settings, Deadline())


@pytest.mark.parametrize("rate", [16000, 48000])
def test_no_more_is_reserved_than_sound_of_the_longest_duration_needs(make_settings, rate):
    settings = make_settings(media_max_audio_s=60)
    data = b"OggS" + bytes(10_000_000)
    assert decoding.measure(job(data, rate), settings, Deadline()) == len(data) + 2 * 60 * rate * 4
