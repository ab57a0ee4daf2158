"""Sound whose content tells the time, and how it is encoded."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

Sound = npt.NDArray[np.float32]

FIRST_HZ, STEP_HZ = 300, 20


def steps(seconds: float, rate: int = 44100, *, start_s: int = 0, channels: int = 1) -> Sound:
    """A tone ``[channels, n]`` that is 20 Hz higher every second; all channels are alike."""
    times = np.arange(int(seconds * rate)) / rate
    hertz = FIRST_HZ + STEP_HZ * (start_s + np.floor(times))
    return np.stack([0.4 * np.sin(2 * np.pi * hertz * times)] * channels).astype(np.float32)


def heard(samples: Sound, rate: int = 16000) -> list[int]:
    """Which seconds of ``steps`` are there: the number of each, by its pitch; -1 for anything else."""
    seconds = []
    for start in range(rate // 4, len(samples) - rate // 2 + 1, rate):
        spectrum = np.abs(np.fft.rfft(samples[start : start + rate // 2]))
        number, rest = divmod(2 * int(spectrum.argmax()) - FIRST_HZ, STEP_HZ)
        seconds.append(number if rest == 0 else -1)
    return seconds


def encode(
    sound: Sound,
    rate: int,
    format: str,
    codec: str,
    *,
    options: Mapping[str, str] | None = None,
    **codec_options: Any,
) -> bytes:
    """``[channels, n]`` in any format that FFmpeg writes."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 7: "6.1", 8: "7.1", 16: "hexadecagonal"}[len(sound)]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format, options=dict(options or {})) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=codec_options)
        frame = av.AudioFrame.from_ndarray(sound.T.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = rate
        context = stream.codec_context
        resampler = av.AudioResampler(
            format=context.format, layout=layout, rate=rate, frame_size=context.frame_size or 1024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(packet for packet in stream.encode() if packet.size)
    return buffer.getvalue()


def mp3(sound: Sound, rate: int = 44100, *, says_length: bool = True, **codec_options: Any) -> bytes:
    """MP3; one that does not say its length has neither a tag nor a Xing frame, as streams have."""
    options = {} if says_length else {"write_xing": "0", "id3v2_version": "0"}
    return encode(sound, rate, "mp3", "libmp3lame", options=options, **codec_options)


def write(sound: Sound, rate: int, format: str, subtype: str | None = None) -> bytes:
    """``[channels, n]`` in any format that libsndfile writes."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, len(sound), subtype, format=format) as file:
        # libsndfile's Vorbis encoder puts all that it is given on the stack.
        for start in range(0, sound.shape[1], rate):
            file.write(sound[:, start : start + rate].T)
    return buffer.getvalue()


def read(data: bytes) -> Sound:
    """What vLLM's own loader makes of a file that libsndfile reads: samples ``[n]``, channels averaged."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        samples = file.read(dtype="float32", always_2d=True).T
    return np.asarray(samples[0] if len(samples) == 1 else np.mean(samples, axis=0))
