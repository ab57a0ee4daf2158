"""The sample sound."""

import io

import numpy as np
import soundfile

SAMPLE_RATE = 16_000  # Hz
PITCHES = (660.0, 660.0, 880.0)  # Hz
BEEP = 0.2  # seconds
LEAD = 0.1  # seconds of silence, before the first beep
SILENCE = 0.2  # seconds, after each beep
FADE = 0.01  # seconds; an edge without it clicks
LOUDNESS = 0.5  # of full scale


def audio() -> bytes:
    """Return a WAV, 16-bit mono at 16 kHz, of 1.3 s: three beeps, the last one higher."""
    time = np.arange(round(BEEP * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = LOUDNESS * np.clip(np.minimum(time, BEEP - time) / FADE, 0.0, 1.0)
    silence = np.zeros(round(SILENCE * SAMPLE_RATE))
    parts = [part for pitch in PITCHES for part in (envelope * np.sin(2 * np.pi * pitch * time), silence)]
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        np.concatenate([np.zeros(round(LEAD * SAMPLE_RATE)), *parts]),
        SAMPLE_RATE,
        format="WAV",
        subtype="PCM_16",
    )
    return buffer.getvalue()
