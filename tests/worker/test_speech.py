"""Forms for vLLM out of jobs, and what is made of its transcripts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tessera.errors import InvalidMedia
from tessera.queue import SPEECH_PATHS, Job
from tessera.worker import subtitles
from tessera.worker.answers import answer_of
from tessera.worker.continuation import Continuation
from tessera.worker.speech import SpeechForms, read_references
from tessera.worker.speech_chat import SpeechChats
from tessera.worker.speech_stream import SpeechStream

PATH = SPEECH_PATHS[0]
URL = "tessera-media:" + "a" * 64
SEGMENTS = [
    {"start": 0.0, "end": 1.2345, "text": " Hello\n\n<world> & "},
    {"start": 3599.9996, "end": 3661.5, "text": "a --> b"},
]


async def vllm(request: Request) -> Response:
    """Says what it got, as the formats have it that vLLM knows."""
    async with request.form() as form:
        got: list[Any] = []
        for name, value in form.multi_items():
            got.append([name, (await value.read()).decode() if isinstance(value, UploadFile) else value])
        kind = str(form.get("response_format", "json"))
    if kind not in ("json", "verbose_json"):
        return JSONResponse({"error": {"message": kind}}, 400)
    said: dict[str, Any] = {"text": json.dumps(got), "usage": {"type": "duration", "seconds": 1}}
    return JSONResponse(said | ({"segments": SEGMENTS} if kind == "verbose_json" else {}))


async def post(body: Any) -> httpx.Response:
    app = SpeechForms(Starlette(routes=[Route(PATH, vllm, methods=["POST"])]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.post(PATH, **({"json": body} if isinstance(body, dict) else {"files": {"file": body}}))


async def form_of(**asked: Any) -> list[Any]:
    got: list[Any] = json.loads((await post({"file": {"url": URL}, **asked})).json()["text"])
    return got


async def test_a_job_becomes_a_form_with_a_reference() -> None:
    got = await form_of(model="m", temperature=0.5, stream=True, language=None, timestamp_granularities=["segment"] * 2)
    times = [["timestamp_granularities[]", "segment"]] * 2
    fields = [["model", "m"], ["temperature", "0.5"], ["stream", "true"], *times]
    assert got == [["file", URL], *fields, ["stream_include_usage", "true"]]
    uploaded = (await post({"file_id": {"url": URL}})).json()
    assert json.loads(uploaded["text"]) == [["file", URL]]


async def test_no_name_and_no_value_makes_another_part() -> None:
    break_in = 'x"\r\n\r\n--\r\nContent-Disposition: form-data; name="file'
    got = await form_of(**{break_in: break_in, "prompt": '--\r\n"ü'})
    assert [value for _, value in got] == [URL, break_in, '--\r\n"ü']
    assert [name for name, _ in got].count("file") == 1


async def test_a_form_passes_by() -> None:
    assert json.loads((await post(b"RIFF")).json()["text"]) == [["file", "RIFF"]]


async def test_formats_that_vllm_does_not_have() -> None:
    for wanted, made in (("srt", subtitles.srt(SEGMENTS)), ("vtt", subtitles.vtt(SEGMENTS))):
        answer = await post({"file": {"url": URL}, "response_format": wanted})
        assert (answer.text, answer.headers["content-type"]) == (made, "text/plain; charset=utf-8")
        assert int(answer.headers["content-length"]) == len(answer.content)
    text = await post({"file": {"url": URL}, "response_format": "text"})
    assert json.loads(text.text) == [["file", URL], ["response_format", "json"]]
    assert text.text.endswith("\n")
    error = await post({"file": {"url": URL}, "response_format": "docx"})
    assert (error.status_code, error.json()) == (400, {"error": {"message": "docx"}})


def test_subtitles() -> None:
    assert subtitles.srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,234\nHello <world> &\n\n2\n01:00:00,000 --> 01:01:01,500\na -> b\n"
    )
    assert subtitles.vtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\nHello &lt;world> &amp;\n\n01:00:00.000 --> 01:01:01.500\na -> b\n"
    )
    assert (subtitles.srt([]), subtitles.vtt([])) == ("", "WEBVTT\n")


def chunk(text: str | None, created: int = 7, **more: Any) -> bytes:
    choice = {"delta": {"content": text}}
    told = {"id": "transcribe-j", "object": "transcription.chunk", "created": created, "choices": [choice], **more}
    return b"data: %b\n\n" % json.dumps(told).encode()


USAGE = chunk(None, choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
DONE = b"data: [DONE]\n\n"


def stream() -> SpeechStream:
    answer = answer_of(200, Job("j", "m", PATH, b"{}", stream=True), None, streamed=True)
    assert isinstance(answer, SpeechStream)
    return answer


def events(body: bytes) -> list[Any]:
    return [json.loads(event.removeprefix(b"data: ")) for event in body.removesuffix(DONE).split(b"\n\n") if event]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_becomes_openais_events(size: int) -> None:
    whole, told = chunk("He") + chunk("llo\n\n") + chunk("") + USAGE + DONE, stream()
    before = b"".join(told.feed(whole[at : at + size]) for at in range(0, len(whole), size))
    assert b"done" not in before, "the last event comes with the end"
    rest = told.rest()
    usage = {"type": "tokens", "input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    assert events(before + rest) == [
        {"type": "transcript.text.delta", "delta": "He"},
        {"type": "transcript.text.delta", "delta": "llo\n\n"},
        {"type": "transcript.text.done", "text": "Hello\n\n", "usage": usage},
    ]
    assert rest.endswith(DONE)
    assert told.usage == {"prompt_tokens": 5, "completion_tokens": 2}


def test_a_stream_that_fails_is_the_answer_or_ends_with_it() -> None:
    error = b'data: {"error":{"message":"no","type":"BadRequestError","param":null,"code":400}}\n\n'
    refused, broken = stream(), stream()
    assert refused.feed(error + DONE) + refused.rest() == b""
    assert (refused.begun, refused.error is not None) == (False, True)
    told = broken.feed(chunk("He") + error + DONE) + broken.rest()
    assert [*events(told)[1]] == ["error"]
    assert b"transcript.text.done" not in told


def test_another_worker_goes_on_with_a_stream() -> None:
    first, second = stream(), stream()
    has = first.feed(chunk("He") + chunk("llo"))
    continuation = Continuation(has)
    new = continuation.feed(second.feed(chunk("He", 9) + chunk("llo", 9) + chunk("!", 9) + USAGE + DONE))
    new += continuation.rest(second.rest())
    assert [event.get("delta") or event["text"] for event in events(new)] == ["!", "Hello!"]


async def chatting(request: Request) -> Response:
    """Says what it was asked."""
    asked = await request.json()
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    message = {"role": "assistant", "content": f" {json.dumps(asked)}\n"}
    return JSONResponse({"id": "chatcmpl-x", "choices": [{"message": message}], "usage": usage})


async def chat(path: str = PATH, **asked: Any) -> httpx.Response:
    app = SpeechChats(Starlette(routes=[Route("/v1/chat/completions", chatting, methods=["POST"])]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.post(path, json={"model": "m", "file": {"url": URL}, **asked})


async def test_a_model_that_chats_is_asked_by_a_prompt() -> None:
    answer = await chat(language="de", prompt="Bundestag", temperature=0.5, max_completion_tokens=7, made_up=1)
    told = answer.json()
    assert told["usage"] == {"type": "tokens", "input_tokens": 9, "output_tokens": 4, "total_tokens": 13}
    asked = json.loads(told["text"])
    [message] = asked.pop("messages")
    assert asked == {"model": "m", "temperature": 0.5, "max_completion_tokens": 7}
    sound, text = message["content"]
    assert sound == {"type": "audio_url", "audio_url": {"url": URL}, "uuid": "a" * 64}
    assert all(word in text["text"] for word in ("word for word", "`de`", "Bundestag"))
    english = json.loads((await chat(SPEECH_PATHS[1])).json()["text"])
    assert "in English" in english["messages"][0]["content"][1]["text"]
    assert english["temperature"] == 0


async def test_its_formats() -> None:
    text = await chat(response_format="text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert json.loads(text.text)["model"] == "m"
    streamed = json.loads((await chat(stream=True)).json()["choices"][0]["message"]["content"])
    assert (streamed["stream"], streamed["stream_options"]) == (True, {"include_usage": True})
    for wrong in ({"response_format": "diarized_json"}, {"use_beam_search": True}):
        refused = await chat(**wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, *wrong)


def test_usage_is_counted_where_it_is_told() -> None:
    for usage, counted in (
        ({"type": "tokens", "input_tokens": 9, "output_tokens": 4}, {"prompt_tokens": 9, "completion_tokens": 4}),
        ({"type": "duration", "seconds": 3}, {"type": "duration", "seconds": 3}),
    ):
        answer = answer_of(200, Job("j", "m", PATH, b"{}"), None, streamed=False)
        raw = json.dumps({"text": "x", "usage": usage}).encode()
        assert answer.feed(raw) + answer.rest() == raw
        assert answer.usage == counted
    text = answer_of(200, Job("j", "m", PATH, b"{}"), None, streamed=False)
    assert (text.feed(b"Hello\n") + text.rest(), text.usage) == (b"Hello\n", {})


class Reader:
    """Has one sound, of three seconds."""

    samples = np.zeros(3 * 8000, dtype=np.float32)
    samples.flags.writeable = False

    async def read(self, url: str, modality: str) -> tuple[Any, dict[str, Any]]:
        assert (url, modality) == (URL, "audio")
        return self.samples, {}


def application(**changed: Any) -> SimpleNamespace:
    async def decode(given: bytes) -> Any:
        return ["decoded"], len(given)

    told = {"sample_rate": 8000, "allow_audio_chunking": True, "max_audio_clip_s": 30, **changed}
    serving = {"asr_config": SimpleNamespace(**told), "model_cls": SimpleNamespace(supports_segment_timestamp=True)}
    names = ("openai_serving_transcription", "openai_serving_translation")
    servings = {name: SimpleNamespace(**serving, _decode_and_chunk_speech_async=decode) for name in names}
    return SimpleNamespace(state=SimpleNamespace(**servings))


def hears(app: Any, *, rate_hz: int = 8000, allow_files: bool = False) -> dict[str, Any] | None:
    return read_references(app, Reader(), rate_hz=rate_hz, allow_files=allow_files)  # type: ignore[arg-type]


async def test_a_reference_is_read_and_a_file_is_none() -> None:
    app = application()
    assert hears(app) == {"clip_s": 30.0, "segments": True}
    for serving in vars(app.state).values():
        [samples], seconds = await serving._decode_and_chunk_speech_async(URL.encode())
        assert (samples.shape, seconds) == ((24_000,), 3.0)
        samples[0] = 1.0  # it is nobody else's
        for given in (b"RIFF", b"\xff" * 100, URL.encode() * 10):
            with pytest.raises(InvalidMedia):
                await serving._decode_and_chunk_speech_async(given)
    asked_directly = application()
    hears(asked_directly, allow_files=True)
    assert await asked_directly.state.openai_serving_translation._decode_and_chunk_speech_async(b"RIFF") == (
        ["decoded"],
        4,
    )


def test_what_cannot_be_served_so_is_not() -> None:
    assert hears(application(), rate_hz=16_000) is None
    assert hears(SimpleNamespace(state=SimpleNamespace())) is None
    assert hears(application(max_audio_clip_s=None)) == {"clip_s": 0.0, "segments": True}
