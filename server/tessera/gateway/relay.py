"""The response to a generation request: prepares media, queues the job, and passes the reply on as it comes."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.errors import TesseraError
from tessera.gateway.body import Options, dump_json, sequences
from tessera.gateway.content import check_media, find_media, prepare_media
from tessera.gateway.disconnect import cancel_on_disconnect
from tessera.gateway.failures import error_of
from tessera.gateway.observation import Observation
from tessera.gateway.services import Services
from tessera.queue import Data, End, Failure, Head, Job, ReplyStream, new_job_id

_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Relay(Response):
    """Answers one request from the queue. Errors before the first byte are raised; later ones end the stream.

    Args:
        path: path in vLLM's application.
        body: the request, which this object may change.
    """

    def __init__(self, services: Services, path: str, body: dict[str, Any], options: Options, seen: Observation):
        super().__init__()
        self._services = services
        self._path = path
        self._request = body
        self._options = options
        self._seen = seen
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request (ASGI)."""
        async with cancel_on_disconnect(receive):
            job = await self._job()
            with self._services.hub.open(job) as stream:
                try:
                    await self._services.broker.enqueue(job, reply_to=self._services.gateway_id)
                    stream.enqueued = True
                    await self._relay(stream, send)
                except BaseException:
                    self._services.abandon(job)
                    raise

    async def _job(self) -> Job:
        services, body = self._services, self._request
        card = services.catalogue.require(self._options.model).card
        self._seen.model = card.model
        if "messages" in body and (parts := find_media(body["messages"])):
            check_media(parts, card)
            await prepare_media(body, parts, card, services.stage)
        # A job that is wider than its engine is only as wide as it: it needs all of it, whatever number was asked for.
        width = min(sequences(body), card.sequences)
        job = Job(new_job_id(), card.model, self._path, dump_json(body), width, self._options.hide_usage)
        self._seen.job_id = job.id
        return job

    async def _relay(self, stream: ReplyStream, send: Send) -> None:
        head: Head | None = None
        pieces: list[bytes] = []
        try:
            while True:
                for entry in await stream.next():
                    if isinstance(entry, Data):
                        pieces.append(entry.body)
                    elif isinstance(entry, Head):
                        head = entry
                        self._seen.head(head)
                    elif isinstance(entry, Failure):
                        raise error_of(entry)
                    else:
                        await self._finish(stream.job, head, pieces, entry, send)
                        return
                if head is not None and pieces and self._streams(head):
                    await self._start(stream.job, head, send)
                    self._seen.piece()
                    await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
                    pieces.clear()
        except TesseraError as error:
            if not self._started:
                raise
            self._seen.failed(error)
            self._services.abandon(stream.job)
            event = b"data: " + orjson.dumps(error.body()) + b"\n\ndata: [DONE]\n\n"
            await send({"type": "http.response.body", "body": b"".join(pieces) + event})

    @staticmethod
    def _streams(head: Head) -> bool:
        return head.content_type.startswith("text/event-stream")

    async def _start(self, job: Job, head: Head, send: Send, length: int | None = None) -> None:
        if self._started:
            return
        self._started = True
        headers = [(b"content-type", head.content_type.encode()), (b"x-request-id", job.id.encode())]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in head.headers.items()]
        headers += _STREAM_HEADERS if length is None else [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": head.status, "headers": headers})

    async def _finish(self, job: Job, head: Head | None, pieces: list[bytes], end: End, send: Send) -> None:
        if head is None:
            raise TesseraError("The worker sent an empty answer.")
        body = b"".join(pieces)
        if pieces:
            self._seen.piece()
        self._seen.end(end)
        await self._start(job, head, send, None if self._streams(head) else len(body))
        await send({"type": "http.response.body", "body": body})
