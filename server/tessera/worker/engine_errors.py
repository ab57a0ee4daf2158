"""vLLM's errors, told as the OpenAI API tells them.

vLLM puts the name of a Python class into ``type`` and the HTTP status into ``code``. What it refuses is found at
different times, so the same error comes as a document, as the first event of a stream, or as a later one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from tessera import errors
from tessera.errors import (
    ContextLengthExceeded,
    EngineBusy,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    RouteNotFound,
    TesseraError,
    UnsupportedByEngine,
)
from tessera.queue import Job

LONGEST_MESSAGE = 600
BUSY_RETRY_S = 1

# What the server's own code, called by vLLM, has raised: it comes back in its own words.
_OWN = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TesseraError)}

_PARAMETER = re.compile(r" \(parameter=([\w.]+)(?:, value=.*)?\)$", re.DOTALL)
# Time and source line, which the grammar compiler puts before its reasons.
_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")
_GRAMMAR = re.compile(r"json schema|grammar|regex|structural tag|structured output", re.IGNORECASE)
_GRAMMAR_FIELDS = ("response_format", "structured_outputs")
_CONTEXT_LENGTH = re.compile(r"maximum (?:context|model) length", re.IGNORECASE)
_PROMPT_FIELDS = ("messages", "prompt", "input", "documents", "items", "data_2", "text_2")


def of_document(status: int, document: bytes, job: Job) -> TesseraError:
    """The error that an answer with an error's status is."""
    try:
        error = orjson.loads(document)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        error = None
    return translate(error if isinstance(error, dict) else {}, job, status)


def translate(error: Mapping[str, Any], job: Job, status: int | None = None) -> TesseraError:
    """The error that one of vLLM's is.

    Args:
        error: what stands under ``error`` in a body or event.
        status: of the answer; without one, the status that the error itself names.
    """
    code, param, message = error.get("code"), error.get("param"), error.get("message")
    param, message = (value if isinstance(value, str) else None for value in (param, message))
    message = message or ""
    if isinstance(code, str) and code in _OWN:
        return _OWN[code](message, param=param)
    if status is None:
        status = code if isinstance(code, int) else 500
    if status in (429, 503):
        return EngineBusy("The model's engine takes no more requests now.", retry_after_s=BUSY_RETRY_S)
    if status == 501:
        return UnsupportedByEngine(_words(message))
    if not 400 <= status < 500:
        # Its reasons are for its log: they are those of a program, not of the request.
        return EngineFailed("The model's engine failed on this request. Its worker's log says why.")
    return _refused(status, message, param, job)


def _refused(status: int, message: str, param: str | None, job: Job) -> InvalidRequest:
    if (named := _PARAMETER.search(message)) is not None:
        param = param or named[1]
        message = message[: named.start()]
    words = _words(message) or "The model's engine refuses this request."
    if status == 404:
        return ModelNotFound(words, param="model") if param == "model" else RouteNotFound(words, param=param)
    body = orjson.loads(job.body)
    if _CONTEXT_LENGTH.search(message):
        return ContextLengthExceeded(words, param=next((name for name in _PROMPT_FIELDS if name in body), None))
    return InvalidRequest(words, param=param.removeprefix("body.") if param else _field_of(message, body))


def _field_of(message: str, body: Mapping[str, Any]) -> str | None:
    """The field that a message without one is about: its first word, or the one that asks for a grammar."""
    first = message.partition(" ")[0].strip("`'")
    if first in body:
        return first
    asked = [name for name in _GRAMMAR_FIELDS if name in body]
    return asked[0] if len(asked) == 1 and _GRAMMAR.search(message) else None


def _words(message: str) -> str:
    words = " ".join(_LOG_PREFIX.sub("", message).split())
    return words if len(words) <= LONGEST_MESSAGE else f"{words[:LONGEST_MESSAGE]}…"
