"""All of the sound in a file is heard: what is joined, changes on the way, or is damaged in one place."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.errors import InvalidMedia, MediaTooLarge
from tessera.media import MediaSpec, audio, ogg
from tessera.media.limits import Deadline
from tessera.media.sniff import sniff
from tests.media.sounds import encode, heard, mp3, read, steps, write

# What encoders of MP3 and AAC add to the ends of each file, seconds.
_PADDING_S = 0.1


def decode(data, settings, rate=16000):
    spec = MediaSpec(audio_sample_rate_hz=rate)
    return audio.decode(data, sniff(data), spec, settings, Deadline())[0]


def cut(data, at, missing):
    start = int(len(data) * at)
    return data[:start] + data[start + missing :]


def vbr_without_length(seconds):
    """Noise at first, for which more bits are used than for the rest: a guess from the first frames is far off."""
    sound = steps(seconds)
    sound[0, : 44100 // 5] = np.random.default_rng(1).uniform(-0.5, 0.5, 44100 // 5)
    return mp3(sound, says_length=False, global_quality="236", flags="+qscale")


def opus(sound):
    return encode(sound, 48000, "ogg", "libopus")


def first(rate, channels=1):
    return steps(5, rate, channels=channels)


def second(rate, channels=1):
    return steps(5, rate, start_s=5, channels=channels)


JOINED = {
    "MP3s with tags and lengths": lambda: mp3(first(44100)) + mp3(second(44100)),
    "MP3 from mono to stereo": lambda: mp3(first(44100), says_length=False) + mp3(second(44100, 2), says_length=False),
    "MP3 from stereo to mono": lambda: mp3(first(44100, 2), says_length=False) + mp3(second(44100), says_length=False),
    "MP3 from 44.1 to 22.05 kHz": lambda: (
        mp3(first(44100), says_length=False) + mp3(second(22050), 22050, says_length=False)
    ),
    "AAC from 44.1 kHz mono to 48 kHz stereo": lambda: (
        encode(first(44100), 44100, "adts", "aac") + encode(second(48000, 2), 48000, "adts", "aac")
    ),
    "Vorbis": lambda: write(first(44100), 44100, "OGG") + write(second(44100), 44100, "OGG"),
    "Vorbis from 44.1 kHz mono to 48 kHz stereo": lambda: (
        write(first(44100), 44100, "OGG") + write(second(48000, 2), 48000, "OGG")
    ),
    "Opus from mono to stereo": lambda: (
        encode(first(48000), 48000, "ogg", "libopus") + encode(second(48000, 2), 48000, "ogg", "libopus")
    ),
    "Opus, then Vorbis": lambda: encode(first(48000), 48000, "ogg", "libopus") + write(second(44100), 44100, "OGG"),
    "FLAC in Ogg": lambda: encode(first(44100), 44100, "ogg", "flac") + encode(second(48000, 2), 48000, "ogg", "flac"),
    "FLAC": lambda: write(first(44100), 44100, "FLAC") + write(second(44100), 44100, "FLAC"),
    "FLAC from 44.1 kHz mono to 48 kHz stereo": lambda: (
        write(first(44100), 44100, "FLAC") + write(second(48000, 2), 48000, "FLAC")
    ),
    "WAV": lambda: write(first(44100), 44100, "WAV") + write(second(44100), 44100, "WAV"),
    "AIFF": lambda: write(first(44100), 44100, "AIFF") + write(second(22050, 2), 22050, "AIFF"),
    "M4A": lambda: encode(first(44100), 44100, "ipod", "aac") + encode(second(44100), 44100, "ipod", "aac"),
    "WAV from 8 to 16 kHz": lambda: write(first(8000), 8000, "WAV") + write(second(16000), 16000, "WAV", "FLOAT"),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_files_are_heard_one_after_the_other(settings, name):
    samples = decode(JOINED[name](), settings)
    padding_s = 2 * _PADDING_S if name.startswith(("MP3", "AAC", "M4A")) else 0.001
    assert 10 <= len(samples) / 16000 <= 10 + padding_s
    assert heard(samples) == list(range(10))


def test_a_link_without_sound_is_passed_over(settings):
    one, two = opus(first(48000)), write(second(48000), 48000, "OGG")
    pages = [page.end for page in ogg._pages(one, Deadline())]
    samples = decode(one[: pages[1]] + one + one[: pages[1]] + two + one[: pages[1]], settings)
    assert heard(samples) == list(range(10))


@pytest.mark.parametrize("make", [opus, lambda sound: write(sound, 48000, "OGG")], ids=["Opus", "Vorbis"])
def test_a_recording_of_web_radio_is_heard_from_where_it_begins(settings, make):
    data = make(steps(40, 48000))
    pages = list(ogg._pages(data, Deadline()))
    middle = len(pages) // 2
    headers = next(page.start for page in pages if page.position != 0)
    seconds = heard(decode(data[:headers] + data[pages[middle].start :], settings))
    assert seconds == list(range(seconds[0], 40))
    assert 15 < seconds[0] < 22


def test_many_joined_files_are_heard(settings):
    data = b"".join(write(steps(1, 16000, start_s=number), 16000, "OGG") for number in range(12))
    assert heard(decode(data, settings)) == list(range(12))


def test_a_variable_bitrate_without_a_length_is_heard_to_the_end(settings):
    samples = decode(vbr_without_length(20), settings)
    assert 20 <= len(samples) / 16000 <= 20 + _PADDING_S
    assert heard(samples) == [*heard(samples)[:1], *range(1, 20)]


@pytest.mark.parametrize("at", [0.2, 0.5, 0.77])
@pytest.mark.parametrize("missing", [1, 4, 50])
def test_an_mp3_with_bytes_missing_keeps_its_length(settings, at, missing):
    whole = mp3(steps(10))
    samples = decode(cut(whole, at, missing), settings)
    # One frame at most, where its header is gone; and what the decoder no longer cuts off at the end.
    assert 10 - 0.027 <= len(samples) / 16000 <= 10 + _PADDING_S
    assert heard(samples) == list(range(10))


def test_bytes_between_frames_of_an_mp3_are_passed_over(settings):
    data = mp3(steps(10), says_length=False)
    noise = np.random.default_rng(5).bytes(3000)
    middle = len(data) // 2
    samples = decode(data[:middle] + noise + data[middle:], settings)
    assert len(samples) / 16000 == pytest.approx(10, abs=_PADDING_S)
    assert heard(samples) == list(range(10))


@pytest.mark.parametrize(
    ("make", "lost_s"),
    [
        (lambda sound: write(sound, 48000, "FLAC"), 0.2),
        (lambda sound: encode(sound, 48000, "adts", "aac"), 0.2),
        # A page of Ogg is one second of Opus, and whole or worth nothing.
        (lambda sound: opus(sound), 1.01),
    ],
    ids=["FLAC", "AAC", "Opus"],
)
def test_after_a_damaged_place_sound_goes_on(settings, make, lost_s):
    samples = decode(cut(make(steps(20, 48000)), 0.5, 4), settings)
    assert 20 - lost_s <= len(samples) / 16000 <= 20 + _PADDING_S
    seconds = heard(samples)
    assert seconds[:9] == list(range(9))
    assert seconds[-3:] == [17, 18, 19] or seconds[-3:] == [16, 17, 18]


@pytest.mark.parametrize(
    "make",
    [
        lambda sound: mp3(sound, 48000),
        lambda sound: mp3(sound, 48000, says_length=False),
        lambda sound: encode(sound, 48000, "adts", "aac"),
        lambda sound: opus(sound),
        lambda sound: write(sound, 48000, "OGG"),
        lambda sound: write(sound, 48000, "FLAC"),
        lambda sound: write(sound, 48000, "WAV"),
        lambda sound: write(sound, 48000, "AIFF"),
    ],
    ids=["MP3", "MP3 stream", "AAC", "Opus", "Vorbis", "FLAC", "WAV", "AIFF"],
)
def test_of_a_file_cut_short_all_that_is_there_is_heard(settings, make):
    data = make(steps(20, 48000))
    samples = decode(data[: len(data) // 2], settings)
    # Pages of Vorbis hold several seconds of a plain tone.
    assert len(samples) / 16000 == pytest.approx(10, abs=3.5)
    assert heard(samples) == list(range(int(len(samples) / 16000 + 0.25)))


def half_empty(data):
    return data[: len(data) // 4] + bytes(len(data) // 2) + data[3 * len(data) // 4 :]


@pytest.mark.parametrize(
    "make",
    [
        lambda sound: mp3(sound, 48000),
        lambda sound: opus(sound),
        lambda sound: write(sound, 48000, "OGG"),
    ],
    ids=["MP3", "Opus", "Vorbis"],
)
def test_what_is_damaged_by_half_is_refused(settings, make):
    with pytest.raises(InvalidMedia, match=r"damaged: \d\d% of it cannot be decoded"):
        decode(half_empty(make(steps(60, 48000))), settings)


def test_damaged_packets_are_passed_over_only_if_they_are_few(settings):
    whole = encode(steps(20), 44100, "matroska", "aac")
    random = np.random.default_rng(2)

    def damaged(share):
        data = bytearray(whole)
        for start in range(4000, len(data) - 400, 400):
            if random.random() < share:
                data[start : start + 40] = random.bytes(40)
        return bytes(data)

    assert len(decode(damaged(0.02), settings)) > 18 * 16000
    with pytest.raises(InvalidMedia, match="damaged"):
        decode(damaged(0.9), settings)


def test_the_limit_on_duration_is_of_all_joined_files(make_settings):
    settings = make_settings(media_max_audio_s=12)
    one = write(steps(5, 16000), 16000, "FLAC")
    assert len(decode(one * 2, settings)) == 10 * 16000
    with pytest.raises(MediaTooLarge, match="12 s"):
        decode(one * 3, settings)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda sound, rate: mp3(sound, rate),
        lambda sound, rate: mp3(sound, rate, says_length=False),
        lambda sound, rate: write(sound, rate, "OGG"),
        lambda sound, rate: write(sound, rate, "FLAC"),
        lambda sound, rate: write(sound, rate, "WAV", "PCM_24"),
        lambda sound, rate: write(sound, rate, "WAV", "DOUBLE"),
        lambda sound, rate: write(sound, rate, "WAV", "IMA_ADPCM"),
        lambda sound, rate: write(sound, rate, "AIFF"),
    ],
    ids=["MP3", "MP3 stream", "Vorbis", "FLAC", "24 bits", "float64", "ADPCM", "AIFF"],
)
def test_a_whole_file_is_equal_to_what_vllms_loader_makes_of_it(settings, rate, channels, make):
    data = make(steps(20, rate, channels=channels), rate)
    assert np.array_equal(decode(data, settings, rate), read(data))


def test_an_opus_file_is_equal_to_what_vllms_loader_makes_of_it(settings):
    data = encode(steps(20, 48000, channels=2), 48000, "ogg", "libopus")
    assert np.array_equal(decode(data, settings, 48000), read(data))
