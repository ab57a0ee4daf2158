"""Transcripts on their way to the client.

vLLM's streams are chunks like a chat's, and OpenAI's clients read events that say what they are.
"""

from __future__ import annotations

from typing import Any

import orjson

from tessera.queue import Job
from tessera.worker import engine_errors
from tessera.worker.answer import Document
from tessera.worker.events import data_of
from tessera.worker.typed_stream import TypedStream

_DONE = b"[DONE]"


class SpeechStream(TypedStream):
    """``transcript.text.delta`` for each piece, and ``transcript.text.done`` with all of it."""

    def __init__(self, job: Job):
        super().__init__(job)
        self._text: list[str] = []

    def _told(self, event: bytes) -> tuple[bytes, bool]:
        data = data_of(event)
        if data == _DONE:
            return self._ending() + event, True
        content = orjson.loads(data)
        if isinstance(error := content.get("error"), dict):
            self.error = engine_errors.translate(error, self._job)
            return _event(self.error.body()) if self.begun else b"", False
        if usage := content.get("usage"):
            self.usage = {name: usage[name] for name in ("prompt_tokens", "completion_tokens")}
        pieces = [choice["delta"].get("content") for choice in content["choices"]]
        text = "".join(piece for piece in pieces if piece)
        if not text:
            return b"", False
        self._text.append(text)
        return _event({"type": "transcript.text.delta", "delta": text}), False

    def _ending(self) -> bytes:
        if self.error is not None:
            return b""
        done: dict[str, Any] = {"type": "transcript.text.done", "text": "".join(self._text)}
        if self.usage:
            heard, said = self.usage["prompt_tokens"], self.usage["completion_tokens"]
            counts = {"input_tokens": heard, "output_tokens": said, "total_tokens": heard + said}
            done["usage"] = {"type": "tokens", **counts}
        return _event(done)


class SpeechDocument(Document):
    """A transcript in one piece; as text it does not tell of its usage."""

    def rest(self) -> bytes:
        """All of it; errors in OpenAI's form."""
        document = super().rest()
        if self.usage.get("type") == "tokens":
            counted = (self.usage["input_tokens"], self.usage["output_tokens"])
            self.usage = dict(zip(("prompt_tokens", "completion_tokens"), counted, strict=True))
        return document


def _event(content: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(content)
