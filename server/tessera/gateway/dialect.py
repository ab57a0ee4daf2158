"""How errors are told: OpenAI has one form for them, its responses another one in streams, Anthropic a third."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from tessera.errors import TesseraError, anthropic_body
from tessera.gateway.pieces import Pieces


class Dialect(Protocol):
    """What an error looks like; it is given in OpenAI's form."""

    def body(self, error: TesseraError) -> dict[str, Any]:
        """The body of an answer that is one."""
        ...

    def document(self, status: int, body: bytes) -> bytes:
        """The same of an error that a worker has told of."""
        ...

    def ending(self, status: int, body: bytes, pieces: Pieces) -> bytes:
        """The last events of a stream, or the only ones.

        Args:
            pieces: what the stream's other events went through.
        """
        ...


class _OpenAI:
    def body(self, error: TesseraError) -> dict[str, Any]:
        return error.body()

    def document(self, status: int, body: bytes) -> bytes:
        return body

    def ending(self, status: int, body: bytes, pieces: Pieces) -> bytes:
        # Line ends in JSON stand between its tokens.
        return b"data: " + body.replace(b"\r", b"").replace(b"\n", b"") + b"\n\ndata: [DONE]\n\n"


class _Responses(_OpenAI):
    def ending(self, status: int, body: bytes, pieces: Pieces) -> bytes:
        error = orjson.loads(body)["error"]
        told = {name: error[name] for name in ("code", "message", "param")}
        return _event({"type": "error", **told, "sequence_number": pieces.next_number})


class _Anthropic:
    def body(self, error: TesseraError) -> dict[str, Any]:
        return anthropic_body(error.status, error.body())

    def document(self, status: int, body: bytes) -> bytes:
        return orjson.dumps(anthropic_body(status, orjson.loads(body)))

    def ending(self, status: int, body: bytes, pieces: Pieces) -> bytes:
        return _event(anthropic_body(status, orjson.loads(body)))


OPENAI: Dialect = _OpenAI()
RESPONSES: Dialect = _Responses()
ANTHROPIC: Dialect = _Anthropic()
_BY_PATH = {"/v1/messages": ANTHROPIC, "/v1/messages/count_tokens": ANTHROPIC, "/v1/responses": RESPONSES}


def dialect_of(path: str) -> Dialect:
    """The one of an endpoint."""
    return _BY_PATH.get(path, OPENAI)


def _event(content: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (content["type"].encode(), orjson.dumps(content))
