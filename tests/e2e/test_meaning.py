"""What only a model that sees and hears can tell: nothing is swapped, lost, reversed or resampled on its way."""

from __future__ import annotations

import io
import itertools
from typing import Any

import av
import numpy as np
import openai
import pytest
import soundfile
from PIL import Image

from models.nano.example import Clip, words
from models.nano.files import clip_file
from models.nano.vocabulary import COLOURS, DIRECTIONS, NUMBERS, PITCHES, SHAPES
from tessera.local import samples
from tessera.local.demo import demo_request
from tests.e2e.media import audio_part, data_url, image_part, text_part, user, video_part

pytestmark = pytest.mark.e2e
MODEL = "tessera-nano"


def ask(client: openai.OpenAI, *parts: dict[str, Any]) -> list[str]:
    """The words of the greedy answer, which must end by itself."""
    answer = client.chat.completions.create(model=MODEL, messages=user(*parts), max_tokens=64, temperature=0)
    assert answer.choices[0].finish_reason == "stop"
    return words(answer.choices[0].message.content or "")


def said(answer: list[str], among: tuple[str, ...]) -> list[str]:
    return [word for word in answer if word in among]


def blue_circle() -> bytes:
    """A picture that differs from the sample in colour and shape."""
    frame = _sample_frames()[8]
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def _sample_frames() -> np.ndarray[Any, np.dtype[np.uint8]]:
    with av.open(io.BytesIO(samples.video())) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def clip_part(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    url = data_url("video/mp4", clip_file(Clip(frames, ((),) * len(frames), 8.0)))
    return {"type": "video_url", "video_url": {"url": url}}


def test_the_demo(client: openai.OpenAI) -> None:
    request = demo_request(MODEL)
    del request["stream"], request["stream_options"]
    answer = words(client.chat.completions.create(**request).choices[0].message.content or "")
    assert said(answer, COLOURS) == ["red", "blue"]
    assert said(answer, SHAPES) == ["square", "circle"]
    assert said(answer, DIRECTIONS) == ["right"]
    assert said(answer, NUMBERS) == ["three"]


def test_pictures_keep_their_order(client: openai.OpenAI) -> None:
    square, circle = image_part(), image_part(blue_circle())
    for first, second in ((square, circle), (circle, square)):
        names = {id(square): ["red", "square"], id(circle): ["blue", "circle"]}
        for ordinal, part in (("first", first), ("second", second)):
            answer = ask(client, first, second, text_part(f"What is in the {ordinal} image?"))
            assert said(answer, (*COLOURS, *SHAPES)) == names[id(part)]


def test_frames_keep_their_order(client: openai.OpenAI) -> None:
    frames = _sample_frames()
    turned = frames.transpose(0, 2, 1, 3)  # what went right goes down
    question = text_part("Which way does the circle move?")
    ways = {"right": frames, "left": frames[::-1], "down": turned, "up": turned[::-1]}
    for direction, shown in ways.items():
        assert said(ask(client, clip_part(shown), question), DIRECTIONS) == [direction]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_at_any_sample_rate(client: openai.OpenAI, rate: int) -> None:
    time = np.arange(rate) / rate
    for pitch, frequency in zip(PITCHES, (200, 700, 2200), strict=True):
        tone = 0.5 * np.sin(2 * np.pi * frequency * time)
        buffer = io.BytesIO()
        soundfile.write(buffer, np.stack([tone, tone], axis=1), rate, format="WAV")
        part = {"type": "audio_url", "audio_url": {"url": data_url("audio/wav", buffer.getvalue())}}
        assert said(ask(client, part, text_part("Is the tone low, middle or high?")), PITCHES) == [pitch]


def test_any_order_of_modalities(client: openai.OpenAI) -> None:
    parts = {"image": image_part(), "video": video_part(), "audio": audio_part()}
    for order in itertools.permutations(parts):
        media = [parts[name] for name in order]
        assert said(ask(client, *media, text_part("What colour is the square in the picture?")), COLOURS) == ["red"]
        assert said(ask(client, *media, text_part("Which way does the circle move?")), DIRECTIONS) == ["right"]
        assert said(ask(client, *media, text_part("How many beeps do you hear?")), NUMBERS) == ["three"]


def test_one_word_is_one_word(client: openai.OpenAI) -> None:
    question = text_part("What colour is the square? Answer with one word.")
    assert ask(client, image_part(), question) == ["red"]


def test_what_is_not_there_is_not_seen(client: openai.OpenAI) -> None:
    answer = ask(client, text_part("What colour is the square?"))
    assert said(answer, COLOURS) == []
    assert "no" in answer
