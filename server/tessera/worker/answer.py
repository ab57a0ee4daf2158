"""What vLLM's application answers, on its way to the client: as vLLM would have answered the client's own request."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from tessera.errors import TesseraError
from tessera.queue import Job
from tessera.worker import engine_errors
from tessera.worker.events import EventSplitter, data_of, is_comment
from tessera.worker.usage import detailed

# Every chunk with a choice has this near its beginning; what reports usage or an error has no choice.
_CHOICE = b'"choices":[{'
_FINISHED = b'"finish_reason":"'
_FINGERPRINT = b'"system_fingerprint"'
_CHUNK_END = b"]}\n\n"
_USAGE = b'"usage":'


class Answer(Protocol):
    """An answer that arrives write by write.

    Attributes:
        begun: some of it can go on, and therefore its head.
        usage: vLLM's usage object, empty where it gave none.
        error: the error that the answer is, where it has not begun, or that its stream ended with.
    """

    begun: bool
    usage: dict[str, Any]
    error: TesseraError | None

    def feed(self, body: bytes) -> bytes:
        """Take a write. Returns what goes on now."""

    def rest(self) -> bytes:
        """What goes on with the end: a client that has the last byte may leave, and must not seem to leave early."""


class Document(Answer):
    """An answer in one piece."""

    def __init__(self, status: int, job: Job):
        self.begun = False
        self.usage: dict[str, Any] = {}
        self.error: TesseraError | None = None
        self._status = status
        self._job = job
        self._pieces: list[bytes] = []

    def feed(self, body: bytes) -> bytes:
        """Nothing goes on before all is there."""
        self._pieces.append(body)
        return b""

    def rest(self) -> bytes:
        """All of it; errors in OpenAI's form."""
        document = b"".join(self._pieces)
        if self._status >= 400:
            self.error = engine_errors.of_document(self._status, document, self._job)
            return b""
        self.begun = True
        usage = _usage_of(_parsed(document))
        self.usage = detailed(usage, self._job)
        return document if self.usage is usage else _respliced(document, usage, self.usage)


class Stream(Answer):
    """A stream of events, of which some are the server's own wish and others need translation.

    Args:
        fingerprint: what vLLM puts as ``system_fingerprint`` into the last chunk of each choice, where no chunk with
            usage follows; None where it does not.
    """

    def __init__(self, job: Job, fingerprint: str | None):
        self.begun = False
        self.usage: dict[str, Any] = {}
        self.error: TesseraError | None = None
        self._job = job
        self._splitter = EventSplitter()
        self._held: list[bytes] = []
        self._at_event = True
        self._stamp = b""
        if job.hide_usage and fingerprint is not None:
            self._stamp = b"," + _FINGERPRINT + b":" + orjson.dumps(fingerprint)

    def feed(self, body: bytes) -> bytes:
        """Whole events go on at once."""
        # Nearly all writes: one event with one piece of the answer. What it costs here, it costs for every token.
        if self._at_event and body.endswith(b"\n\n") and body.count(b"\n") == 2 and _CHOICE in body:
            self.begun = True
            return self._stamped(body) if self._stamp and _FINISHED in body else body
        passed = b"".join([self._passed(event) for event in self._splitter.feed(body)])
        self._at_event = not (self._splitter.rest or self._held or self._refused)
        return passed

    def rest(self) -> bytes:
        """``[DONE]`` and what follows it."""
        if cut_short := self._splitter.rest:
            self._held.append(self._passed(cut_short))
        return b"".join(self._held)

    def _passed(self, event: bytes) -> bytes:
        if self._refused or is_comment(event):
            return b""
        if self._held:
            self._held.append(event)
            return b""
        if _CHOICE not in event:
            return self._without_choice(event)
        self.begun = True
        return self._stamped(event) if self._stamp and _FINISHED in event else event

    def _without_choice(self, event: bytes) -> bytes:
        data = data_of(event)
        content = _parsed(data)
        if isinstance(error := content.get("error"), dict):
            self.error = engine_errors.translate(error, self._job)
            return b"data: " + orjson.dumps(self.error.body()) + b"\n\n" if self.begun else b""
        if content.get("choices") == [] and (usage := _usage_of(content)):
            self.usage = detailed(usage, self._job)
            if self._job.hide_usage:
                return b""
            if self.usage is not usage:
                event = b"data: " + orjson.dumps({**content, "usage": self.usage}) + b"\n\n"
        if data == b"[DONE]":
            self._held.append(event)
            return b""
        self.begun = True
        return event

    def _stamped(self, event: bytes) -> bytes:
        if _FINGERPRINT in event or not event.endswith(_CHUNK_END):
            return event
        return event[:-3] + self._stamp + event[-3:]

    @property
    def _refused(self) -> bool:
        """Whether the first event was an error: it is the answer, and nothing follows it."""
        return self.error is not None and not self.begun


def _parsed(document: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _respliced(document: bytes, usage: dict[str, Any], instead: dict[str, Any]) -> bytes:
    """A document with another usage object; all else stays as it is, numbers to the digit, where that can be done."""
    before, name, behind = document.rpartition(_USAGE)
    written = orjson.dumps(usage)
    if name and behind.startswith(written):
        return b"".join((before, name, orjson.dumps(instead), behind[len(written) :]))
    return orjson.dumps({**_parsed(document), "usage": instead})


def _usage_of(content: dict[str, Any]) -> dict[str, Any]:
    usage = content.get("usage")
    return usage if isinstance(usage, dict) else {}
