"""``/v1/audio/…`` of vLLM's application, as jobs ask for them: JSON with a reference, in place of a form with a file.

vLLM would decode the file. Here it gets samples that a gateway's sandbox has decoded, and does with them what it does
with its own: cuts them where it is quiet, and transcribes the clips.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.errors import InvalidMedia
from tessera.media import Modality, digest_of
from tessera.queue import SPEECH_PATHS
from tessera.worker import subtitles
from tessera.worker.bridge import vllm_name
from tessera.worker.connector import MediaReader
from tessera.worker.rewritten import TEXT, Remade, ask, is_json, json_of

log = structlog.get_logger()

TASK = "transcription"
_SERVINGS = ("openai_serving_transcription", "openai_serving_translation")
_DECODE = "_decode_and_chunk_speech_async"
_LONGEST_REFERENCE = 256
# By the format that the client asks for: the one that vLLM is asked for, and what is made of its answer.
_MADE: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "text": ("json", lambda answer: answer["text"] + "\n"),
    "srt": ("verbose_json", lambda answer: subtitles.srt(answer["segments"] or ())),
    "vtt": ("verbose_json", lambda answer: subtitles.vtt(answer["segments"] or ())),
}


def read_references(app: Any, reader: MediaReader, *, rate_hz: int, allow_files: bool) -> dict[str, Any] | None:
    """Have vLLM's application take references to sounds.

    Args:
        app: vLLM's.
        rate_hz: of the samples that references are to.
        allow_files: let vLLM decode files itself (for an engine that is also called directly).

    Returns:
        What gateways are to know (``ModelCard.speech``); None where this vLLM or this model cannot be served so.
    """
    described: dict[str, Any] = {}
    for name in _SERVINGS:
        serving = getattr(app.state, name, None)
        decode, config = getattr(serving, _DECODE, None), getattr(serving, "asr_config", None)
        if serving is None or decode is None or config is None or int(config.sample_rate) != rate_hz:
            log.warning("speech_not_served", reason="this vLLM is built otherwise, or hears at another rate")
            return None
        setattr(serving, _DECODE, _decoder(reader, config, decode if allow_files else None))
        cut = config.allow_audio_chunking and config.max_audio_clip_s is not None
        described = {
            "clip_s": float(config.max_audio_clip_s) if cut else 0.0,
            "segments": bool(getattr(serving.model_cls, "supports_segment_timestamp", False)),
        }
    return described


def _decoder(reader: MediaReader, config: Any, decode_file: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    async def decode(given: bytes) -> Any:
        url = given.decode("ascii", "replace") if len(given) <= _LONGEST_REFERENCE else ""
        if digest_of(url) is None:
            if decode_file is None:
                raise InvalidMedia("Media must be sent through the gateway; the engine takes references only.")
            return await decode_file(given)
        samples, _ = await reader.read(url, Modality.AUDIO)
        return await asyncio.to_thread(_clips, samples, config)

    return decode


def _clips(samples: Any, config: Any) -> tuple[list[Any], float]:
    """As vLLM cuts them; and seconds in all."""
    seconds = samples.shape[-1] / config.sample_rate
    samples = samples.copy()  # torch wants to write to it
    most_s = config.max_audio_clip_s
    if not config.allow_audio_chunking or most_s is None or seconds <= most_s:
        return [samples], seconds
    clips = vllm_name("split_audio")(
        audio_data=samples,
        sample_rate=int(config.sample_rate),
        max_clip_duration_s=most_s,
        overlap_duration_s=config.overlap_chunk_second,
        min_energy_window_size=config.min_energy_split_window_size,
    )
    return clips, seconds


class SpeechForms:
    """vLLM's application, which takes forms for these paths, and has two formats; forms that come pass by."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http" or scope["path"] not in SPEECH_PATHS or not is_json(scope):
            await self._app(scope, receive, send)
            return
        asked = await json_of(scope, receive)
        wanted = asked.get("response_format")
        if asked.get("stream"):
            asked["stream_include_usage"] = True
        elif wanted in _MADE:
            asked["response_format"], make = _MADE[wanted]
            send = Remade(send, lambda answer: make(answer).encode(), TEXT)
        boundary = secrets.token_hex(16)
        form, kind = _form(asked, boundary), f"multipart/form-data; boundary={boundary}"
        await ask(self._app, scope, receive, send, form, content_type=kind, path=scope["path"])


def _form(asked: Mapping[str, Any], boundary: str) -> bytes:
    """A form of what is asked, whose file is the reference."""
    parts: list[str] = []
    for name, value in asked.items():
        if name in ("file", "file_id"):
            parts.append(_part(boundary, "file", value["url"], '; filename="sound"'))
        elif isinstance(value, list):
            parts += [_part(boundary, f"{name}[]", str(each)) for each in value]
        elif value is not None:
            parts.append(_part(boundary, name, str(value).lower() if isinstance(value, bool) else str(value)))
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()


def _part(boundary: str, name: str, value: str, more: str = "") -> str:
    # As browsers do it: names are the client's own, and could say that another part begins.
    for mark, written in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        name = name.replace(mark, written)
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
