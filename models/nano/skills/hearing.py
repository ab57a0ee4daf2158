"""Sounds: the pitch of a tone, the number of beeps, a spoken digit."""

from __future__ import annotations

import numpy as np

from models.nano.example import SAMPLE_RATE, Example, Samples, Sound, Span
from models.nano.skills.asking import ask, pick
from models.nano.vocabulary import NUMBERS, PITCHES
from models.nano.voices import VoiceBank

FREQUENCIES = {"low": (120, 320), "middle": (500, 950), "high": (1500, 3200)}  # Hz
_FADE_S = 0.008  # a tone without it clicks


def sound(rng: np.random.Generator, bank: VoiceBank, *, held_out: bool = False) -> Example:
    """One sound and what is heard in it."""
    skill = pick(rng, ("pitch", "beeps", "beeps", "digit"))
    if skill == "digit":
        return digit(rng, bank, held_out=held_out)
    return pitch(rng) if skill == "pitch" else beeps(rng)


def pitch(rng: np.random.Generator) -> Example:
    """A single tone."""
    name = pick(rng, PITCHES)
    track = _Track(rng)
    track.pause(rng.uniform(0.02, 0.5))
    track.tone(name, _frequency(rng, name), rng.uniform(0.25, 1.2))
    track.pause(rng.uniform(0.05, 0.4))
    texts = ("Is the tone low, middle or high?", "What is the pitch of the tone?", "How high is the tone?")
    which = ask(rng, texts, f"the tone is {name}", [name], PITCHES, name)
    what = ask(rng, _GENERAL, f"I hear a {name} tone", [name, "tone"], _HEARD)
    return Example("pitch", (track.sound(),), (which, what))


def beeps(rng: np.random.Generator) -> Example:
    """One to four beeps."""
    number = int(rng.integers(1, 5))
    track = _Track(rng)
    track.pause(rng.uniform(0.02, 0.3))
    length, gap = rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.35)
    name = pick(rng, PITCHES)
    frequency = _frequency(rng, name)
    varied = rng.random() < 0.4
    for _ in range(number):
        tone = float(np.clip(frequency * rng.uniform(0.75, 1.35), 120, 3200)) if varied else frequency
        track.tone(name, tone, length * rng.uniform(0.9, 1.1))
        track.pause(gap * rng.uniform(0.9, 1.1))
    texts = ("How many beeps do you hear?", "How many tones are there?", "Count the beeps.")
    noun = "beep" if number == 1 else "beeps"
    which = ask(rng, texts, f"I hear {NUMBERS[number]} {noun}", [NUMBERS[number]], NUMBERS, NUMBERS[number])
    what = ask(rng, _GENERAL, f"I hear {NUMBERS[number]} {noun}", [NUMBERS[number], noun], _HEARD)
    return Example("beeps", (track.sound(),), (which, what))


def digit(rng: np.random.Generator, bank: VoiceBank, *, held_out: bool = False) -> Example:
    """A digit, spoken.

    Args:
        held_out: by a voice that training never hears.
    """
    value = int(rng.integers(10))
    number = NUMBERS[value]
    track = _Track(rng)
    track.pause(rng.uniform(0.02, 0.4))
    track.add(bank.utterance(rng, value, held_out=held_out), f"spoken {number}")
    track.pause(rng.uniform(0.05, 0.4))
    texts = ("Which digit is spoken?", "What digit do you hear?", "Which number do you hear?", "What is said?")
    which = ask(rng, texts, f"the digit is {number}", [number], NUMBERS, number)
    what = ask(rng, _GENERAL, f'I hear a voice. It says "{number}"', ["voice", number], _HEARD)
    return Example("digit", (track.sound(),), (which, what))


_GENERAL = ("What do you hear?", "Describe the sound.", "What is in the recording?")
_HEARD = {*PITCHES, *NUMBERS, "tone", "beep", "beeps", "voice"}


def _frequency(rng: np.random.Generator, name: str) -> float:
    least, most = FREQUENCIES[name]
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))


class _Track:
    """A sound that is put together from parts."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._parts: list[Samples] = []
        self._spans: list[Span] = []
        self._loudness = rng.uniform(0.15, 0.8)
        self._noise = rng.uniform(0.0005, 0.02) if rng.random() < 0.5 else 0.0
        self._harmonics = rng.random() < 0.3

    @property
    def _end(self) -> float:
        return sum(len(part) for part in self._parts) / SAMPLE_RATE

    def pause(self, seconds: float) -> None:
        self._parts.append(np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32))

    def tone(self, name: str, frequency: float, seconds: float) -> None:
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        wave = np.sin(2 * np.pi * frequency * time)
        if self._harmonics:
            wave = (
                wave + 0.3 * np.sin(4 * np.pi * frequency * time) + 0.1 * np.sin(6 * np.pi * frequency * time)
            ) / 1.4
        fade = np.clip(np.minimum(time, seconds - time) / _FADE_S, 0.0, 1.0)
        self.add((self._loudness * fade * wave).astype(np.float32), f"{name} tone")

    def add(self, samples: Samples, label: str) -> None:
        start = self._end
        self._parts.append(samples)
        self._spans.append(Span(start, self._end, (label,)))

    def sound(self) -> Sound:
        samples = np.concatenate(self._parts)
        if self._noise:
            samples = samples + self._rng.normal(0, self._noise, len(samples)).astype(np.float32)
        return Sound(np.clip(samples, -1.0, 1.0).astype(np.float32), tuple(self._spans))
