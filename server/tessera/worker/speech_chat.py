"""Transcripts of models that hear and chat, and that vLLM lists as no transcribers: they are asked by a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.errors import InvalidRequest
from tessera.media import digest_of
from tessera.queue import SPEECH_PATHS
from tessera.worker.rewritten import JSON, TEXT, Remade, ask, is_json, json_of

_CHAT_PATH = "/v1/chat/completions"
_TRANSLATIONS = SPEECH_PATHS[1]
_TRANSCRIBE = "Write down what is said in the recording, word for word, and nothing else."
_TRANSLATE = "Write down in English what is said in the recording, and nothing else."
# What means the same in a chat.
_KEPT = (
    "model", "temperature", "seed", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "max_completion_tokens",
)  # fmt: skip


def chat_of(asked: Mapping[str, Any], *, translate: bool) -> dict[str, Any]:
    """The chat that asks a model for a transcript.

    Args:
        asked: as a job has it, with a reference to the sound.

    Raises:
        InvalidRequest: it asks for what no chat can give.
    """
    if asked.get("response_format", "json") not in ("json", "text"):
        raise InvalidRequest("This model gives transcripts as `json` or `text`.", param="response_format")
    if asked.get("use_beam_search"):
        raise InvalidRequest("This model does not search with beams.", param="use_beam_search")
    url = (asked.get("file") or asked["file_id"])["url"]
    said = [_TRANSLATE if translate else _TRANSCRIBE]
    if language := asked.get("language"):
        said.append(f"It is in the language `{language}`.")
    if prompt := asked.get("prompt"):
        said.append(f"What went before, or may come in it: {prompt}")
    parts = [
        {"type": "audio_url", "audio_url": {"url": url}, "uuid": digest_of(url)},
        {"type": "text", "text": "\n".join(said)},
    ]
    chat: dict[str, Any] = {name: asked[name] for name in _KEPT if asked.get(name) is not None}
    chat.setdefault("temperature", 0)
    if asked.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return {**chat, "messages": [{"role": "user", "content": parts}]}


def transcript_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The transcript in a chat's answer, as OpenAI's models have it that count tokens."""
    heard, wrote = (answer["usage"][name] for name in ("prompt_tokens", "completion_tokens"))
    usage = {"type": "tokens", "input_tokens": heard, "output_tokens": wrote, "total_tokens": heard + wrote}
    return {"text": (answer["choices"][0]["message"]["content"] or "").strip(), "usage": usage}


class SpeechChats:
    """An application that chats, and answers these paths, too."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http" or scope["path"] not in SPEECH_PATHS or not is_json(scope):
            await self._app(scope, receive, send)
            return
        asked = await json_of(scope, receive)
        try:
            chat = chat_of(asked, translate=scope["path"] == _TRANSLATIONS)
        except InvalidRequest as error:
            await JSONResponse(error.body(), error.status)(scope, receive, send)
            return
        if not asked.get("stream"):
            as_text = asked.get("response_format") == "text"
            send = Remade(send, _text if as_text else _json, TEXT if as_text else JSON)
        await ask(self._app, scope, receive, send, orjson.dumps(chat), content_type=JSON, path=_CHAT_PATH)


def _json(answer: Mapping[str, Any]) -> bytes:
    return orjson.dumps(transcript_of(answer))


def _text(answer: Mapping[str, Any]) -> bytes:
    return f"{transcript_of(answer)['text']}\n".encode()
