"""Spoken digits, by espeak-ng's voices, synthesised once and kept in a folder."""

from __future__ import annotations

import io
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from models.nano.example import SAMPLE_RATE, Samples
from models.nano.vocabulary import NUMBERS

_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-029")
_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "f1", "f2", "f3", "f4", "klatt", "klatt4", "croak")
HELD_OUT_ACCENT = "en-gb-x-rp"
HELD_OUT_VARIANTS = ("m4", "f3", "klatt4")
# Speed in words a minute and pitch (0 to 99) of the takes of each digit by each voice.
_TAKES = ((150, 50), (120, 35), (185, 62), (165, 45), (135, 58))
_SILENCE = 0.01  # of full scale; what is quieter is cut off at both ends


class VoiceBank:
    """Utterances of the ten digits, in two parts: one to learn from, one held out (an accent and three variants).

    Args:
        folder: where they are kept; made on first use, which takes a minute.

    Attributes:
        path: of the file.

    Raises:
        FileNotFoundError: espeak-ng is not installed.
    """

    def __init__(self, folder: Path):
        self.path = folder / "digits.npz"
        if not self.path.exists():
            _record(self.path)
        with np.load(self.path) as file:
            self._samples = file["samples"]
            self._index = file["index"]

    def utterance(self, rng: np.random.Generator, digit: int, *, held_out: bool) -> Samples:
        """The digit, by one of the voices, at a random loudness."""
        known = self._index[(self._index[:, 0] == digit) & (self._index[:, 1] == held_out)]
        _, _, start, end = known[int(rng.integers(len(known)))]
        samples = self._samples[start:end].astype(np.float32) / 32768
        return samples * np.float32(rng.uniform(0.3, 1.0) / max(0.05, float(np.abs(samples).max())))


def _record(path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        raise FileNotFoundError("espeak-ng is missing, which speaks the digits: apt-get install espeak-ng")
    wanted = _wanted()
    with ThreadPoolExecutor() as pool:
        takes = list(pool.map(lambda w: _speak(NUMBERS[w[0]], *w[2:]), wanted))
    ends = np.cumsum([len(take) for take in takes])
    index = [(w[0], w[1], end - len(take), end) for w, take, end in zip(wanted, takes, ends, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, samples=np.concatenate(takes), index=np.array(index, dtype=np.int64))
    partial.replace(path)


def _wanted() -> list[tuple[int, bool, str, int, int]]:
    """Of each utterance the digit, whether it is held out, the voice, its speed and its pitch."""
    return [
        (digit, accent == HELD_OUT_ACCENT or variant in HELD_OUT_VARIANTS, f"{accent}+{variant}", speed, pitch)
        for accent in _ACCENTS
        for variant in _VARIANTS
        for speed, pitch in _TAKES
        for digit in range(10)
    ]


def _speak(text: str, voice: str, speed: int, pitch: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    argv = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), text]
    wav = subprocess.run(argv, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    loud = np.flatnonzero(np.abs(samples) > _SILENCE)
    resampled = soxr.resample(samples[loud[0] : loud[-1] + 1], rate, SAMPLE_RATE)
    return (np.clip(resampled, -1, 1) * 32767).astype(np.int16)
