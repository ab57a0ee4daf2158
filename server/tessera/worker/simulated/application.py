"""The simulation's HTTP side: an ASGI application with the endpoints of generating models, as vLLM's has them.

Load balancers in front of ``TESSERA_ENGINE_PORT`` ask for ``/health`` and ``/v1/models`` too.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import structlog
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from tessera.errors import TesseraError
from tessera.settings import Settings
from tessera.worker.simulated.choice import Piece, choices_of
from tessera.worker.simulated.core import Core
from tessera.worker.simulated.failures import RequestFailed
from tessera.worker.simulated.form import ChatForm, CompletionForm, Form
from tessera.worker.simulated.generation import Generation
from tessera.worker.simulated.request import ChatRequest, CompletionRequest, GenerationRequest, ReadMedium
from tessera.worker.simulated.typed_form import MessagesForm, ResponsesForm
from tessera.worker.simulated.typed_request import MessagesRequest, ResponsesRequest

log = structlog.get_logger()

_ENDPOINTS: dict[str, tuple[type[GenerationRequest], type[Form]]] = {
    "/v1/chat/completions": (ChatRequest, ChatForm),
    "/v1/completions": (CompletionRequest, CompletionForm),
    "/v1/responses": (ResponsesRequest, ResponsesForm),
    "/v1/messages": (MessagesRequest, MessagesForm),
}


class Application:
    """Answers requests out of a simulated engine.

    Args:
        read: finds what a reference to media means.
        max_model_len: longest prompt and answer together, in tokens.
    """

    def __init__(self, core: Core, settings: Settings, read: ReadMedium, max_model_len: int):
        self._core = core
        self._usual = settings.simulated_answer_tokens
        self._read = read
        self._max_model_len = max_model_len
        self._model, self._began = settings.resolved_model_name(), int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI), or stop to when its client has gone."""
        assert scope["type"] == "http", scope["type"]
        if scope["method"] == "GET":
            await self._tell(scope["path"], send)
            return
        raw = await _body(receive)
        answering = asyncio.create_task(self._answer(scope, raw, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _tell(self, path: str, send: Send) -> None:
        if path == "/health":
            await _document(send, 200, {})
        elif path == "/v1/models":
            model = {"id": self._model, "object": "model", "created": self._began, "owned_by": "tessera"}
            await _document(send, 200, {"object": "list", "data": [{**model, "max_model_len": self._max_model_len}]})
        else:
            await _no_endpoint(send)

    async def _answer(self, scope: Scope, raw: bytes, send: Send) -> None:
        endpoint = _ENDPOINTS.get(scope["path"])
        if endpoint is None:
            await _no_endpoint(send)
            return
        schema, form = endpoint
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"").decode("latin-1") or secrets.token_hex(8)
        try:
            request = schema.model_validate_json(raw)
            prompts = await request.prompts(self._read)
            choices = choices_of(request, prompts, max_model_len=self._max_model_len, usual=self._usual)
        except ValidationError as error:
            problem = error.errors()[0]
            await _refuse(send, 400, problem["msg"], ".".join(map(str, problem["loc"])))
        except TesseraError as error:
            await _document(send, error.status, error.body())
        except ValueError as error:
            await _refuse(send, 400, str(error))
        else:
            generation = Generation(self._core, request, request_id, choices)
            written = form(request, request_id, int(time.time()))
            await (self._stream if request.stream else self._whole)(generation, written, request, send)

    async def _stream(self, generation: Generation, form: Form, request: GenerationRequest, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def say(events: Iterable[dict[str, Any]]) -> None:
            for event in events:
                await send({"type": "http.response.body", "body": form.framed(event), "more_body": True})

        try:
            await say(form.opening())
            async for piece in generation.run():
                await say(form.events(piece))
            await say(form.closing(generation.usage(), wanted=request.usage_wanted))
        except RequestFailed as error:
            await say([form.failure(_error(500, str(error)))])
        await send({"type": "http.response.body", "body": form.done, "more_body": False})

    async def _whole(self, generation: Generation, form: Form, request: GenerationRequest, send: Send) -> None:
        pieces: defaultdict[int, list[Piece]] = defaultdict(list)
        try:
            async for piece in generation.run():
                pieces[piece.index].append(piece)
        except RequestFailed as error:
            await _refuse(send, 500, str(error))
            return
        by_choice: Sequence[list[Piece]] = [pieces[index] for index in sorted(pieces)]
        await _document(send, 200, form.document(by_choice, generation.usage()))


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _no_endpoint(send: Send) -> None:
    await _refuse(send, 404, "The simulated engine has no such endpoint.")


def _error(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    # vLLM's: the name of a class of Python's for the type, the status for the code.
    kind = "InternalServerError" if status >= 500 else "BadRequestError"
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


async def _refuse(send: Send, status: int, message: str, param: str | None = None) -> None:
    await _document(send, status, _error(status, message, param))


async def _document(send: Send, status: int, content: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(content), "more_body": False})
