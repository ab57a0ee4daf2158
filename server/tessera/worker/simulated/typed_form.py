"""Answers whose events say what they are, as vLLM writes them for ``/v1/responses`` and ``/v1/messages``."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from tessera.worker.simulated.choice import Piece
from tessera.worker.simulated.form import Form, Json
from tessera.worker.simulated.request import GenerationRequest


class _TypedForm(Form):
    done = b""

    def __init__(self, request: GenerationRequest, request_id: str, created: int):
        super().__init__(request, request_id, created)
        self._model = request.model
        self._created = created
        self._text = ""

    def framed(self, event: Json) -> bytes:
        """See ``Form``."""
        return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))

    def chunks(self, piece: Piece) -> Iterable[Json]:
        """There are none."""
        raise NotImplementedError

    def choice(self, pieces: Sequence[Piece]) -> Json:
        """There are none."""
        raise NotImplementedError


class ResponsesForm(_TypedForm):
    """``/v1/responses``."""

    prefix, whole, chunk = "resp", "response", "response"

    def __init__(self, request: Any, request_id: str, created: int):
        super().__init__(request, request_id, created)
        self._id = request.request_id or f"resp_{request_id}"
        self._request = request
        self._number = 0
        # Random, as vLLM's are.
        self._item_id = ("msg_" if self._function is None else "fc_") + secrets.token_hex(16)
        self._call_id = f"chatcmpl-tool-{secrets.token_hex(8)}"

    def opening(self) -> Iterable[Json]:
        """See ``Form``."""
        for state in ("created", "in_progress"):
            yield self._event(f"response.{state}", response=self._response("in_progress", [], None))
        yield self._event("response.output_item.added", output_index=0, item=self._item("", "in_progress"))
        if self._function is None:
            yield self._event("response.content_part.added", **self._place(), part=_text(""))

    def events(self, piece: Piece) -> Iterable[Json]:
        """See ``Form``."""
        if piece.text:
            self._text += piece.text
            kind = "output_text" if self._function is None else "function_call_arguments"
            yield self._event(f"response.{kind}.delta", **self._place(), delta=piece.text)

    def closing(self, usage: Json, *, wanted: bool) -> Iterable[Json]:
        """See ``Form``."""
        if self._function is None:
            yield self._event("response.output_text.done", **self._place(), text=self._text)
            yield self._event("response.content_part.done", **self._place(), part=_text(self._text))
        else:
            yield self._event("response.function_call_arguments.done", **self._place(), arguments=self._text)
        item = self._item(self._text, "completed")
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event("response.completed", response=self._response("completed", [item], usage))

    def failure(self, error: Json) -> Json:
        """See ``Form``."""
        told = error["error"]
        return self._event("error", code=str(told["code"]), message=told["message"], param=None)

    def document(self, pieces: Iterable[Sequence[Piece]], usage: Json) -> Json:
        """See ``Form``."""
        self._text = "".join(p.text for some in pieces for p in some)
        return self._response("completed", [self._item(self._text, "completed")], usage)

    def _place(self) -> Json:
        place = {"item_id": self._item_id, "output_index": 0}
        return place if self._function is not None else {**place, "content_index": 0}

    def _item(self, text: str, status: str) -> Json:
        item: Json = {"id": self._item_id, "status": status}
        if self._function is not None:
            named = {"call_id": self._call_id, "name": self._function, "arguments": text}
            return {**item, "type": "function_call", **named}
        content = [_text(text)] if status == "completed" else []
        return {**item, "type": "message", "role": "assistant", "content": content}

    def _response(self, status: str, output: list[Json], usage: Json | None) -> Json:
        request = self._request
        counted = usage and {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        return {
            "id": self._id,
            "created_at": self._created,
            "incomplete_details": None,
            "instructions": request.instructions,
            "model": self._model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": request.tool_choice or "auto",
            "tools": request.tools or [],
            "top_p": 1.0,
            "background": False,
            "max_output_tokens": request.max_output_tokens,
            "previous_response_id": None,
            "status": status,
            "usage": counted,
        }

    def _event(self, kind: str, **content: Any) -> Json:
        number, self._number = self._number, self._number + 1
        return {**content, "sequence_number": number, "type": kind}


class MessagesForm(_TypedForm):
    """``/v1/messages``."""

    prefix, whole, chunk = "chatcmpl", "message", "message"

    def __init__(self, request: GenerationRequest, request_id: str, created: int):
        super().__init__(request, request_id, created)
        self._last: Piece | None = None

    def opening(self) -> Iterable[Json]:
        """See ``Form``."""
        usage = {"input_tokens": 0, "output_tokens": 0}
        yield {"type": "message_start", "message": {**self._message(None), "content": [], "usage": usage}}
        yield {"type": "content_block_start", "index": 0, "content_block": self._block("")}

    def events(self, piece: Piece) -> Iterable[Json]:
        """See ``Form``."""
        self._last = piece
        if piece.text:
            delta = {"type": "text_delta", "text": piece.text}
            if self._function is not None:
                delta = {"type": "input_json_delta", "partial_json": piece.text}
            yield {"type": "content_block_delta", "index": 0, "delta": delta}

    def closing(self, usage: Json, *, wanted: bool) -> Iterable[Json]:
        """See ``Form``."""
        yield {"type": "content_block_stop", "index": 0}
        yield {"type": "message_delta", "delta": self._end(self._last), "usage": _usage(usage)}
        yield {"type": "message_stop"}

    def failure(self, error: Json) -> Json:
        """See ``Form``."""
        return {"type": "error", "error": {"type": "internal_error", "message": error["error"]["message"]}}

    def document(self, pieces: Iterable[Sequence[Piece]], usage: Json) -> Json:
        """See ``Form``."""
        [made] = pieces
        block = self._block("".join(piece.text for piece in made))
        return {**self._message(made[-1]), "content": [block], "usage": _usage(usage)}

    def _message(self, last: Piece | None) -> Json:
        identity = {"id": self._identity["id"], "type": "message", "role": "assistant", "model": self._model}
        return {**identity, **self._end(last)}

    def _block(self, text: str) -> Json:
        if self._function is None:
            return {"type": "text", "text": text}
        given = orjson.loads(text) if text else {}
        return {"type": "tool_use", "id": f"toolu_{secrets.token_hex(8)}", "name": self._function, "input": given}

    def _end(self, last: Piece | None) -> Json:
        reason = None
        if last is not None:
            reason = {"length": "max_tokens", "tool_calls": "tool_use"}.get(last.finish or "", "end_turn")
            reason = "stop_sequence" if last.stopped_by else reason
        return {"stop_reason": reason, "stop_sequence": last.stopped_by if last else None}


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Json) -> Json:
    return {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
