"""What of a stream the client has already: it is made again from the record, compared, and not sent twice."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from typing import Any

import orjson

from tessera.worker.events import EventSplitter, data_of

_CREATED = re.compile(rb'"created":\d+')


class Mismatch(Exception):
    """The stream cannot be gone on with: made again, it is another one."""


class Continuation:
    """Compares events with those that were written, and lets through what comes behind them.

    Several sequences (``n``, several prompts) may come in another order; the events of each are compared in their own.

    Args:
        written: body of the reply so far: whole events.

    Raises:
        Mismatch: ``written`` does not consist of whole events.
    """

    def __init__(self, written: bytes):
        splitter = EventSplitter()
        events = splitter.feed(written)
        if splitter.rest:
            raise Mismatch("the reply breaks off inside an event")
        self._splitter = EventSplitter()
        self._expected: defaultdict[int | None, deque[bytes]] = defaultdict(deque)
        for event in events:
            sequence, content = _canonical(event)
            self._expected[sequence].append(content)
        self._left = len(events)
        created = _CREATED.search(events[0]) if events else None
        self._created = created.group() if created else b""

    @property
    def caught_up(self) -> bool:
        """Whether all that was written has come again."""
        return not self._left

    def feed(self, body: bytes) -> bytes:
        """What of ``body`` is new to the client.

        Raises:
            Mismatch: it differs from what the client has.
        """
        return b"".join([self._new(event) for event in self._splitter.feed(body)])

    def rest(self, body: bytes) -> bytes:
        """As ``feed``, for the end of the stream, which need not be whole events."""
        passed = self.feed(body) + self._splitter.rest
        if not self.caught_up:
            raise Mismatch("it ended earlier than before")
        return passed

    def _new(self, event: bytes) -> bytes:
        if self._left:
            sequence, content = _canonical(event)
            if expected := self._expected[sequence]:
                if expected.popleft() != content:
                    raise Mismatch("an event differs from the one that the client has")
                self._left -= 1
                return b""
        # One stream has one time.
        return _CREATED.sub(self._created, event, count=1) if self._created else event


def _canonical(event: bytes) -> tuple[int | None, bytes]:
    """Which sequence an event belongs to, and its content without what differs each time that it is made."""
    data = data_of(event)
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None, data
    if not isinstance(content, dict):
        return None, data
    content.pop("created", None)
    # Another worker's engine may have another configuration; what it says is what counts.
    content.pop("system_fingerprint", None)
    # What is cached is a matter of the worker.
    if isinstance(usage := content.get("usage"), dict) and isinstance(usage.get("prompt_tokens_details"), dict):
        usage["prompt_tokens_details"].pop("cached_tokens", None)
    # Of Anthropic's streams: the same of the cache, and what is random.
    if isinstance(message := content.get("message"), dict):
        message.pop("usage", None)
    for part in (content.get("delta"), content.get("content_block")):
        if isinstance(part, dict):
            part.pop("signature", None)
            part.pop("id", None)
    choices = content.get("choices") or []
    for choice in choices:
        for call in _tool_calls(choice):
            call.pop("id", None)  # random
    sequence = choices[0].get("index") if choices else None
    return sequence, orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def _tool_calls(choice: dict[str, Any]) -> list[dict[str, Any]]:
    calls = (choice.get("delta") or {}).get("tool_calls")
    return calls if isinstance(calls, list) else []
