"""How answers are written down: as vLLM writes them, as chunks of a stream and in one piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from tessera.worker.simulated.choice import Piece
from tessera.worker.simulated.request import GenerationRequest
from tessera.worker.simulated.speech import alternatives, logprob

Json = dict[str, Any]


class Form(ABC):
    """The answers to one request of one endpoint.

    Args:
        request_id: what the answer's id is made of.
        created: Unix time in seconds.
    """

    prefix: str
    whole: str
    chunk: str
    done = b"data: [DONE]\n\n"

    def __init__(self, request: GenerationRequest, request_id: str, created: int):
        self._identity = {"id": f"{self.prefix}-{request_id}", "created": created, "model": request.model}
        self._function = request.function
        self._top = request.top_logprobs_wanted

    def events(self, piece: Piece) -> Iterable[Json]:
        """Chunks of a stream for a token."""
        for choice in self.chunks(piece):
            yield {**self._identity, "object": self.chunk, "choices": [choice]}

    def opening(self) -> Iterable[Json]:
        """What a stream begins with."""
        return ()

    def closing(self, usage: Json, *, wanted: bool) -> Iterable[Json]:
        """What it ends with: its usage, where that is wanted."""
        if wanted:
            yield {**self._identity, "object": self.chunk, "choices": [], "usage": usage}

    def failure(self, error: Json) -> Json:
        """The event that a stream ends with which has failed.

        Args:
            error: in OpenAI's form.
        """
        return error

    def framed(self, event: Json) -> bytes:
        """An event of a stream as it is sent."""
        return b"data: " + orjson.dumps(event) + b"\n\n"

    def document(self, pieces: Iterable[Sequence[Piece]], usage: Json) -> Json:
        """The answer in one piece, of the tokens of each choice."""
        choices = [self.choice(list(p)) for p in pieces]
        return {**self._identity, "object": self.whole, "choices": choices, "usage": usage}

    @abstractmethod
    def chunks(self, piece: Piece) -> Iterable[Json]:
        """What stands in ``choices``."""

    @abstractmethod
    def choice(self, pieces: Sequence[Piece]) -> Json:
        """The same of a whole answer."""


class ChatForm(Form):
    """``/v1/chat/completions``."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def chunks(self, piece: Piece) -> Iterable[Json]:
        """See ``Form``."""
        if piece.first:
            yield self._chunk(piece.index, {"role": "assistant", "content": ""}, None, None)
            if self._function is not None:
                call = {"index": 0, "id": self._call_id(piece), "type": "function"}
                named = {**call, "function": {"name": self._function, "arguments": ""}}
                yield self._chunk(piece.index, {"tool_calls": [named]}, None, None)
        if not (piece.text or piece.finish):
            return
        delta: Json = {"content": piece.text}
        if self._function is not None:
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece.text}}]}
        yield {
            **self._chunk(piece.index, delta, self._logprobs(piece.tokens), piece.finish),
            **({"stop_reason": piece.stopped_by} if piece.finish else {}),
        }

    def choice(self, pieces: Sequence[Piece]) -> Json:
        """See ``Form``."""
        text, last = "".join(p.text for p in pieces), pieces[-1]
        message: Json = {"role": "assistant", "content": text}
        if self._function is not None:
            function = {"name": self._function, "arguments": text}
            call = {"id": self._call_id(last), "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        tokens = [token for p in pieces for token in p.tokens]
        ended = {"finish_reason": last.finish, "stop_reason": last.stopped_by}
        return {"index": last.index, "message": message, "logprobs": self._logprobs(tokens), **ended}

    def _chunk(self, index: int, delta: Json, logprobs: Json | None, finish: str | None) -> Json:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    def _call_id(self, piece: Piece) -> str:
        return f"call-{self._identity['id']}-{piece.index}"

    def _logprobs(self, tokens: Iterable[str]) -> Json | None:
        if self._top is None:
            return None
        return {"content": [{**_entry(t, logprob(t)), "top_logprobs": self._others(t)} for t in tokens]}

    def _others(self, token: str) -> list[Json]:
        return [_entry(other, value) for other, value in alternatives(token, self._top or 0)]


class CompletionForm(Form):
    """``/v1/completions``."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def chunks(self, piece: Piece) -> Iterable[Json]:
        """See ``Form``."""
        if piece.text or piece.finish:
            yield self._choice(piece.text, piece.tokens, piece)

    def choice(self, pieces: Sequence[Piece]) -> Json:
        """See ``Form``."""
        return self._choice("".join(p.text for p in pieces), [t for p in pieces for t in p.tokens], pieces[-1])

    def _choice(self, text: str, tokens: Sequence[str], last: Piece) -> Json:
        return {
            "index": last.index,
            "text": text,
            "logprobs": self._logprobs(tokens),
            "finish_reason": last.finish,
            "stop_reason": last.stopped_by,
        }

    def _logprobs(self, tokens: Sequence[str]) -> Json | None:
        if self._top is None:
            return None
        return {
            "tokens": list(tokens),
            "token_logprobs": [logprob(t) for t in tokens],
            "top_logprobs": [dict(alternatives(t, self._top)) for t in tokens],
        }


def _entry(token: str, value: float) -> Json:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}
