"""The response to a generation request: prepares media, queues the job, and passes the reply on as it comes."""

from __future__ import annotations

import orjson
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.errors import TesseraError
from tessera.gateway.body import Document, Options, Share
from tessera.gateway.content import check_media, find_media, prepare_media
from tessera.gateway.conversation import check_conversation
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.failures import error_of
from tessera.gateway.media_options import read_media_options
from tessera.gateway.observation import Observation
from tessera.gateway.services import Services
from tessera.gateway.wire import STREAM_HEAD, Wire, is_stream
from tessera.queue import Data, End, Failure, Head, Job, ReplyStream, new_job_id

log = structlog.get_logger()


class Relay(Response):
    """Answers one request from the queue. Errors before the first byte are raised; later ones end the stream.

    Args:
        path: path in vLLM's application.
        document: the request.
        share: what it takes of the gateway's room for bodies; given back as soon as the job is queued.
    """

    def __init__(
        self, services: Services, path: str, document: Document, options: Options, seen: Observation, share: Share
    ):
        super().__init__()
        self._services = services
        self._path = path
        self._document: Document | None = document
        self._options = options
        self._seen = seen
        self._share = share
        self._head: Head | None = None
        self._pieces: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request (ASGI)."""
        async with cancel_on_disconnect(receive), self._services.stage.hold() as holder:
            job = await self._job(scope["state"]["request_id"], holder)
            self._services.queued.check(job)
            with self._services.hub.open(job) as stream:
                try:
                    await self._services.broker.enqueue(job, reply_to=self._services.gateway_id)
                    self._services.queued.add(job)
                    stream.enqueued = True
                    job = stream.job
                    self._share.give_back()
                    with Wire(send, heartbeat_s=self._heartbeat_s) as wire:
                        await self._answer(stream, wire)
                except BaseException:
                    self._services.abandon(job)
                    raise

    @property
    def _heartbeat_s(self) -> float:
        return self._services.settings.stream_heartbeat_s if self._options.stream else 0

    async def _job(self, request_id: str, holder: str) -> Job:
        services, document = self._services, self._document
        assert document is not None, "it is read once"
        card = services.catalogue.require(self._options.model).card
        self._seen.model = card.model
        further_roles = services.settings.further_roles()
        await document.run(lambda read: check_conversation(read, further_roles))
        parts = await document.run(find_media)
        media_options = read_media_options(document, card, {p.modality for p in parts})
        if parts:
            check_media(parts, card, sound_of_videos=media_options.sound_of_videos)
            await prepare_media(document, parts, media_options, services.stage, holder)
        # A job that is wider than its engine is only as wide as it: it needs all of it, whatever number was asked for.
        width = min(self._options.sequences, card.sequences)
        body = await document.run(Document.encode)
        self._document = None  # it may be large, and the answer may take long
        identity, options = new_job_id(request_id), self._options
        job = Job(identity, card.model, self._path, body, width, options.hide_usage, options.stream)
        self._seen.job_id = job.id
        return job

    async def _answer(self, stream: ReplyStream, wire: Wire) -> None:
        try:
            await self._relay(stream, wire)
        except Exception as error:
            if not wire.started:
                raise
            self._services.abandon(stream.job)
            await self._fail(error, wire)

    async def _relay(self, stream: ReplyStream, wire: Wire) -> None:
        while True:
            for entry in await stream.next():
                if isinstance(entry, Data):
                    self._pieces.append(entry.body)
                elif isinstance(entry, Head):
                    self._head = entry
                    self._seen.head(entry)
                elif isinstance(entry, Failure):
                    raise error_of(entry)
                else:
                    await self._finish(entry, wire)
                    return
            if self._head is not None and self._pieces and is_stream(self._head):
                self._seen.piece()
                await wire.write(self._head, self._taken(), more=True)

    async def _finish(self, end: End, wire: Wire) -> None:
        if self._head is None:
            raise TesseraError("The worker sent an empty answer.")
        if self._pieces:
            self._seen.piece()
        self._seen.end(end)
        body = self._taken()
        if wire.started and not is_stream(self._head):
            body = _as_event(body)
        await wire.write(self._head, body, more=False)

    async def _fail(self, error: Exception, wire: Wire) -> None:
        """End a stream whose head is out with an event that says what went wrong."""
        if not isinstance(error, TesseraError):
            log.exception("relay_failed", job=self._seen.job_id)
            error = TesseraError("The gateway failed on this request; its log says why.")
        self._seen.failed(error)
        whole = self._taken() if self._head is not None and is_stream(self._head) else b""
        await wire.write(STREAM_HEAD, whole + _as_event(orjson.dumps(error.body())), more=False)

    def _taken(self) -> bytes:
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body


def _as_event(document: bytes) -> bytes:
    """A document as the only, or last, event of a stream; line ends in JSON stand between its tokens."""
    return b"data: " + document.replace(b"\r", b"").replace(b"\n", b"") + b"\n\ndata: [DONE]\n\n"
