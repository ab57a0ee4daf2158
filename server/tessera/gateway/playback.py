"""A job's reply on its way to one client, entry by entry, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog

from tessera.errors import TesseraError, unexpected
from tessera.gateway.dialect import OPENAI, Dialect
from tessera.gateway.event_ids import BEGINNING, EventId, Numbered, beyond_end
from tessera.gateway.failures import error_of
from tessera.gateway.observation import Observation, Retelling
from tessera.gateway.pieces import Pieces, Plain
from tessera.gateway.wire import STREAM_HEAD, Wire, is_stream
from tessera.queue import Data, End, Entry, Failure, Head, ReplyStream

log = structlog.get_logger()

_NOTHING_LEFT = Head(204, STREAM_HEAD.content_type)


class Playback:
    """Writes a reply. Errors before the first byte are raised; later ones end the stream.

    Args:
        numbered: the events of a stream get ids, and what ends a stream that has begun is always an event of it.
        dialect: how errors are told.
        pieces: what a stream's bodies go through, unless its events get ids.
        on_failure: called with the error that ends a stream, before that is written.
    """

    def __init__(
        self,
        stream: ReplyStream,
        wire: Wire,
        seen: Observation | Retelling,
        *,
        numbered: bool,
        on_failure: Callable[[Exception], None],
        dialect: Dialect = OPENAI,
        pieces: Pieces | None = None,
    ):
        self._dialect = dialect
        self._own = pieces
        self._stream = stream
        self._wire = wire
        self._seen = seen
        self._numbered = numbered
        self._on_failure = on_failure
        self._after = BEGINNING
        self._resumed = False
        self._head: Head | None = None
        self._pieces: Pieces = Plain()
        self._begun = False
        # A stream that has begun: its pieces can be written in the moment in which they come.
        self._flows = False
        # The log's entry that the reply ends with, once that is there.
        self._last: int | None = None

    def resume(self, head: Head | None, after: EventId) -> None:
        """Go on behind an event; the entry that it ends in is the first that the stream brings.

        Args:
            head: of the reply; None where it failed before it had one.
        """
        self._head, self._after, self._resumed = head, after, True
        self._pieces = Numbered(after)

    async def run(self) -> None:
        """Write all of it."""
        try:
            # In a task of its own: who waits is woken from the bottom of its calls up, and here, for each token, those
            # of the whole application would be in between.
            await self._end(await asyncio.create_task(self._relay()))
        except Exception as error:
            if not (self._wire.started or self._begun):
                raise
            self._on_failure(error)
            await self._fail(error)

    async def _relay(self) -> End | Failure:
        """Write what comes before the last entry."""
        stream = self._stream
        while True:
            entries = await stream.next(self._push)
            for at, entry in enumerate(entries, stream.offset - len(entries)):
                if isinstance(entry, Data):
                    self._pieces.add(at, entry.body)
                elif isinstance(entry, Head):
                    self._begin(entry)
                else:
                    self._last = at
                    self._begun = self._begun or self._resumed
                    return entry
            if self._resumed:
                self._begun = True
            if self._head is not None and is_stream(self._head) and (body := self._pieces.take()):
                self._seen.piece()
                await self._wire.write(self._head, body, more=True)
                self._flows = True

    def _push(self, at: int, entry: Entry) -> bool:
        # Most entries are a token each: to wake a task for one takes as long as to write it.
        if not (self._flows and isinstance(entry, Data) and self._wire.flows):
            return False
        self._pieces.add(at, entry.body)
        if body := self._pieces.take():
            self._seen.piece()
            self._wire.push(body)
        return True

    def _begin(self, head: Head) -> None:
        if self._resumed:
            raise beyond_end()  # no event ends in a head
        self._head = head
        self._seen.head(head)
        if self._own is not None and is_stream(head):
            self._pieces = self._own
            self._begun = True
        elif self._numbered and is_stream(head):
            self._pieces = Numbered()
            self._begun = True

    async def _end(self, entry: End | Failure) -> None:
        if isinstance(entry, Failure):
            raise error_of(entry)
        head = self._head
        if head is None:
            raise TesseraError("The worker sent an empty answer.")
        body = self._pieces.rest()
        if body:
            self._seen.piece()
        self._seen.end(entry)
        if not is_stream(head) and (self._wire.started or self._begun):
            head, body = STREAM_HEAD, self._as_events(head.status, body)
        elif head.status >= 400 and body:
            body = self._dialect.document(head.status, body)
        await self._write_last(head, body)

    async def _fail(self, error: Exception) -> None:
        """End a stream that has begun with an event that says what went wrong."""
        if not isinstance(error, TesseraError):
            log.exception("relay_failed", job=self._stream.job.id)
            error = unexpected()
        self._seen.failed(error)
        whole = self._pieces.take() if self._head is not None and is_stream(self._head) else b""
        await self._write_last(STREAM_HEAD, whole + self._as_events(error.status, orjson.dumps(error.body())))

    async def _write_last(self, head: Head, body: bytes) -> None:
        if self._resumed and not body and not self._wire.started:
            head = _NOTHING_LEFT
        await self._wire.write(head, body, more=False)

    def _as_events(self, status: int, document: bytes) -> bytes:
        """A document as the only, or last, event of a stream."""
        events = self._dialect.ending(status, document, self._pieces)
        # What this gateway alone has to say has no place in the log.
        if not self._numbered or self._last is None:
            return events
        numbered = Numbered(self._after)
        numbered.add(self._last, events)
        return numbered.take()
