"""Streams whose events say what they are: of ``/v1/responses``, and of ``/v1/messages``."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import orjson

from tessera.errors import TesseraError, anthropic_body
from tessera.queue import Job
from tessera.worker import engine_errors
from tessera.worker.answer import Answer, Document
from tessera.worker.events import EventSplitter, data_of, is_comment

RESPONSES, MESSAGES, COHERE_EMBEDDINGS = "/v1/responses", "/v1/messages", "/v2/embed"
# Within the text of an answer the quotes are escaped, so that these are members.
_ITEM = re.compile(rb'("(?:id|item_id|call_id)":")((?:msg|rs|fc|ctc|call|chatcmpl-tool)[_-])([0-9a-zA-Z-]{8,64})"')
_ID_DIGITS = 32


class TypedStream(Answer):
    """Events go on as they come; the last one comes with the end of the reply (see ``Answer.rest``)."""

    def __init__(self, job: Job):
        self.begun = False
        self.usage: dict[str, Any] = {}
        self.error: TesseraError | None = None
        self._job = job
        self._splitter = EventSplitter()
        self._held: list[bytes] = []

    def feed(self, body: bytes) -> bytes:
        """Whole events go on at once."""
        return b"".join([self._passed(event) for event in self._splitter.feed(body)])

    def rest(self) -> bytes:
        """The last event, and what follows it."""
        if cut_short := self._splitter.rest:
            self._held.append(self._passed(cut_short))
        return b"".join(self._held)

    def _passed(self, event: bytes) -> bytes:
        refused = self.error is not None and not self.begun
        if refused or is_comment(event):
            return b""
        passed, last = self._told(event)
        self.begun = self.begun or bool(passed)
        if not (last or self._held):
            return passed
        self._held.append(passed)
        return b""

    @abstractmethod
    def _told(self, event: bytes) -> tuple[bytes, bool]:
        """What goes on of an event, and whether it is the last."""


class TypedDocument(Document):
    """The same in one piece.

    Args:
        usage_of: what of it is its usage, under the names that chats have for that.
    """

    def __init__(self, status: int, job: Job, usage_of: Callable[[Mapping[str, Any]], dict[str, Any]]):
        super().__init__(status, job)
        self._usage_of = usage_of

    def rest(self) -> bytes:
        """All of it; errors in OpenAI's form."""
        document = b"".join(self._pieces)
        if self._status >= 400:
            self.error = engine_errors.of_document(self._status, document, self._job)
            return b""
        self.begun = True
        content: dict[str, Any] = orjson.loads(document)
        self.usage = self._usage_of(content)
        return orjson.dumps({**content, **self._job.echo}) if self._job.echo else document


class ResponsesStream(TypedStream):
    """Of ``/v1/responses``.

    vLLM makes up ids for the items of an answer, others each time. Here they follow from the job's, so that a worker
    that goes on with a stream goes on with its items.
    """

    def __init__(self, job: Job):
        super().__init__(job)
        self._ids: dict[bytes, bytes] = {}

    def _told(self, event: bytes) -> tuple[bytes, bool]:
        if b'"type":"error"' in event and (failed := _parsed(event)).get("type") == "error":
            self.error = engine_errors.translate({"code": 500, **failed, "type": None}, self._job)
            told = self.error.body()["error"]
            kept = {name: told[name] for name in ("code", "message", "param")}
            return _event({**failed, **kept}) if self.begun else b"", False
        event = _ITEM.sub(self._renamed, event)
        if b'"response":{' not in event:
            return event, False
        content = _parsed(event)
        response = content["response"]
        response.update(self._job.echo)
        last = content["type"] in ("response.completed", "response.incomplete", "response.failed")
        if last:
            self.usage = usage_of_response(response)
        return _event(content), last

    def _renamed(self, found: re.Match[bytes]) -> bytes:
        member, kind, given = found.groups()
        if given not in self._ids:
            digest = sha256(b"%b:%d" % (self._job.id.encode(), len(self._ids))).hexdigest()
            self._ids[given] = digest[:_ID_DIGITS].encode()
        return b'%b%b%b"' % (member, kind, self._ids[given])


class MessagesStream(TypedStream):
    """Of ``/v1/messages``."""

    def _told(self, event: bytes) -> tuple[bytes, bool]:
        if b'"type":"content_block_delta"' in event:
            return event, False
        content = _parsed(event)
        if content["type"] == "error":
            self.error = engine_errors.translate(content["error"], self._job)
            told = anthropic_body(self.error.status, self.error.body())
            return _event(told) if self.begun else b"", False
        if content["type"] == "message_delta":
            self.usage = usage_of_message(content)
        return event, content["type"] == "message_stop"


def usage_of_response(response: Mapping[str, Any]) -> dict[str, Any]:
    """A response's usage, under the names that chats have for it."""
    usage = response.get("usage") or {}
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens")
    return _usage(usage.get("input_tokens"), usage.get("output_tokens"), cached)


def usage_of_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a message of Anthropic's, whose input does not count what was cached."""
    usage = message.get("usage") or {}
    cached, made = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    prompt = usage.get("input_tokens")
    if prompt is not None:
        prompt += (cached or 0) + (made or 0)
    return _usage(prompt, usage.get("output_tokens"), cached)


def usage_of_embeddings(made: Mapping[str, Any]) -> dict[str, Any]:
    """The same of Cohere's embeddings, whose media is counted apart where there is any."""
    billed = (made.get("meta") or {}).get("billed_units") or {}
    counts = [count for name in ("input_tokens", "image_tokens") if (count := billed.get(name)) is not None]
    return _usage(sum(counts) if counts else None, None, None)


def _usage(prompt: int | None, completion: int | None, cached: int | None) -> dict[str, Any]:
    if prompt is None:
        return {}
    counted: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion or 0}
    return counted if cached is None else {**counted, "prompt_tokens_details": {"cached_tokens": cached}}


def _parsed(event: bytes) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(data_of(event))
    return content


def _event(content: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (content["type"].encode(), orjson.dumps(content))
