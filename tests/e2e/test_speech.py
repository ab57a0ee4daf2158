"""Transcripts of a tiny Whisper of random weights: what vLLM makes of a file, and of samples from the gateway."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
import soundfile

from tessera.gateway.endpoints import TRANSCRIPTION, TRANSLATION
from tessera.local.samples import audio
from tests.stack import RunningStack, running_stack
from tests.tiny import whisper

pytestmark = pytest.mark.e2e
NAME = "whisper"
FORMS = (TRANSCRIPTION, TRANSLATION)
# In English it need not find out the language.
ASKED: dict[str, Any] = {"model": NAME, "language": "en"}


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("whisper")
    whisper.make_whisper(folder / "model")
    options = {
        "TESSERA_MODEL": str(folder / "model"),
        "TESSERA_SERVED_MODEL_NAME": NAME,
        "TESSERA_ENGINE_ARGS": whisper.ENGINE_ARGS,
        "HF_HUB_OFFLINE": "1",
    }
    with running_stack(folder, **options) as running:
        yield running


def long_sound(clips: float = 3.5) -> bytes:
    """More than it hears at once."""
    samples, rate = soundfile.read(io.BytesIO(audio()), dtype="float32")
    repeated = np.resize(samples, int(clips * whisper.CLIP_S * rate))
    written = io.BytesIO()
    soundfile.write(written, repeated, rate, format="WAV", subtype="PCM_16")
    return written.getvalue()


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)


def answer(url: str, path: str, sound: bytes, **fields: Any) -> Any:
    with client_of(url) as asking:
        files = {"file": ("a.wav", sound)}
        options: Any = {"headers": {"Content-Type": "multipart/form-data"}}
        body = {**ASKED, **fields}
        return asking.post(path.removeprefix("/v1"), cast_to=object, body=body, files=files, options=options)


@pytest.mark.parametrize("path", [form.path for form in FORMS])
def test_a_transcript_is_what_vllm_makes_of_the_file(hearing: RunningStack, path: str) -> None:
    asked: list[tuple[bytes, dict[str, Any]]] = [
        (audio(), {}),
        (long_sound(), {}),
        (long_sound(), {"prompt": "hm", "max_completion_tokens": "9"}),
        (audio(), {"response_format": "verbose_json"}),
        (long_sound(), {"response_format": "verbose_json"}),
    ]
    for sound, fields in asked:
        through, direct = answer(hearing.url, path, sound, **fields), answer(hearing.direct_url, path, sound, **fields)
        assert through == direct
        assert through["text"]


def test_what_openais_client_gets(hearing: RunningStack) -> None:
    sound = ("beeps.wav", audio())
    with client_of(hearing.url) as asking:
        ask = asking.audio.transcriptions.create
        plain = ask(file=sound, **ASKED)
        assert plain.usage is not None
        assert (plain.usage.type, plain.usage.seconds) == ("duration", 2)
        assert ask(file=sound, response_format="text", **ASKED) == plain.text + "\n"
        verbose = ask(file=sound, response_format="verbose_json", timestamp_granularities=["segment"], **ASKED)
        assert verbose.segments
        assert verbose.duration == pytest.approx(1.3)
        srt = ask(file=sound, response_format="srt", **ASKED)
        assert srt.count(" --> ") == len(verbose.segments)
        assert srt.startswith("1\n00:00:0")
        vtt = ask(file=sound, response_format="vtt", **ASKED)
        assert vtt.startswith("WEBVTT\n\n00:00:0")
        events = list(ask(file=sound, stream=True, **ASKED))
        *deltas, done = events
        assert {event.type for event in deltas} == {"transcript.text.delta"}
        assert (done.type, done.text) == ("transcript.text.done", "".join(event.delta for event in deltas))
        assert done.text == plain.text
        assert done.usage.output_tokens > 0


def test_a_long_sound_is_streamed_clip_by_clip(hearing: RunningStack) -> None:
    with client_of(hearing.url) as asking:
        ask = asking.audio.transcriptions.create
        *_, done = ask(file=("a.wav", long_sound()), stream=True, **ASKED)
        assert done.text == ask(file=("a.wav", long_sound()), **ASKED).text


def test_what_is_wrong_is_told_as_ever(hearing: RunningStack) -> None:
    listed = json.loads(hearing.get(f"/v1/models/{NAME}")[1])
    assert {form.path for form in FORMS} <= set(listed["endpoints"])
    assert "/v1/chat/completions" not in listed["endpoints"]
    with client_of(hearing.url) as asking:
        with pytest.raises(openai.BadRequestError, match="Unsupported language"):
            asking.audio.transcriptions.create(model=NAME, file=("a.wav", audio()), language="xx")
        with pytest.raises(openai.BadRequestError, match=r"asked: .*/v1/audio/transcriptions"):
            asking.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "Hello"}])


def test_a_model_that_hears_and_chats_is_asked_by_a_prompt(client: openai.OpenAI, stack: RunningStack) -> None:
    asked: dict[str, Any] = {"model": stack.model, "file": ("beeps.wav", audio())}
    ask = client.audio.transcriptions.create
    plain = ask(**asked)
    assert "three" in plain.text.lower()
    assert plain.usage is not None
    assert plain.usage.type == "tokens"
    *deltas, done = ask(stream=True, **asked)
    assert done.text == "".join(event.delta for event in deltas)
    assert done.text.strip() == plain.text
    with pytest.raises(openai.BadRequestError, match="tells times"):
        ask(response_format="srt", **asked)
